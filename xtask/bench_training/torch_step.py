"""A training step of the live recipe in PyTorch: torch_step.py CASE [DEVICE].

CASE is what `training_step -- case` wrote: weights, a batch, and our losses and gradients of them, which PyTorch must come to as
well before anything is timed. Prints a line for each way to run the step: name, a tab, median milliseconds.
"""

import json
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from safetensors import safe_open

STEPS, WARM_UP = 24, 8
MU = 255
# As in engine/src/train/spectrum_critic.rs.
CRITIC_LAYERS, CRITIC_CHANNELS, CRITIC_LEAK = [(5, 1), (5, 2), (3, 1)], 96, 0.2
CRITIC_NOISE, CRITIC_MISNAMED, CRITIC_WEIGHT = 0.05, 0.5, 0.3
BLUR = (0.0625, 0.25, 0.375, 0.25, 0.0625)
CONFUSION_RATE, CRITIC_RATE = 1e-3, 1e-3


def main():
    path, device = sys.argv[1], torch.device(sys.argv[2] if len(sys.argv) > 2 else "cpu")
    torch.manual_seed(1)
    # What is not asked to be rounded is not.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    with safe_open(path, "pt") as file:
        facts = json.loads(file.metadata()["facts"])
        tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}
    step = Step(facts, tensors, device)
    step.compare()
    print(f"PyTorch eager\t{step.median_ms():.2f}", flush=True)
    ways = [("PyTorch compiled", {"compiled": "default"})]
    if device.type == "cuda":
        ways += [
            ("PyTorch compiled, CUDA graphs", {"compiled": "reduce-overhead"}),
            ("PyTorch compiled, bf16", {"compiled": "default", "bf16": True}),
            ("PyTorch compiled, CUDA graphs, bf16", {"compiled": "reduce-overhead", "bf16": True}),
        ]
    for name, way in ways:
        # Compiling asks for compilers and headers: where it fails, it is said so, and what was measured is kept.
        try:
            print(f"{name}\t{step.median_ms(**way):.2f}", flush=True)
        except Exception as error:
            print(f"{name} failed: {error}", flush=True)


def part(tensors, prefix):
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


class Network:
    """The live recipe's graph. Shapes are those of engine/src/model."""

    def __init__(self, facts, device):
        self.facts = facts
        values = (torch.arange(MU + 1, dtype=torch.float64) + 0.5) / 128 - 1
        values = values.sign() * ((MU + 1) ** values.abs() - 1) / MU
        widths = (values[2:] - values[:-2]) / 2
        widths = torch.cat([values[1:2] - values[:1], widths, values[-1:] - values[-2:-1]])
        self.values, self.log_widths = values.float().to(device), widths.log().float().to(device)

    def encode(self, weights, heard):
        layer = 0
        while f"encoder.layers.{layer}.weight" in weights:
            weight, bias = weights[f"encoder.layers.{layer}.weight"], weights[f"encoder.layers.{layer}.bias"]
            heard = F.relu(F.conv1d(heard, weight, bias, dilation=2**layer))
            layer += 1
        return torch.tanh(F.conv1d(heard, weights["encoder.latent.weight"], weights["encoder.latent.bias"]))

    def frames(self, weights, latent, singers, features):
        """`(B, F, frame_channels)`"""
        embedding = weights["singers.embedding"][singers][:, None].expand(-1, latent.shape[2], -1)
        hidden = torch.cat([latent.transpose(1, 2), features, embedding], 2)
        hidden = torch.tanh(F.linear(hidden, weights["frame.weight"], weights["frame.bias"]))
        for layer in range(1, self.facts["frame_layers"]):
            weight, bias = weights[f"frame.layers.{layer}.weight"], weights[f"frame.layers.{layer}.bias"]
            hidden = torch.tanh(F.linear(hidden, weight, bias))
        return hidden

    def prior(self, weights, frames, batch):
        """Mean `(B, T)` and log-scale `(B, T)`"""
        raw = F.linear(frames, weights["prior.weight"], weights["prior.bias"])
        taps, period_taps = self.facts["taps"], self.facts["period_taps"]
        order = []
        for reflection in (0.99 * torch.tanh(raw[..., :taps])).unbind(-1):
            order = [tap - reflection * mirrored for tap, mirrored in zip(order, reversed(order))] + [reflection]
        scale_at = raw.shape[2] - period_taps - 1
        rest = [raw[..., taps:scale_at], raw[..., scale_at + 1 :]]
        coefficients = torch.cat([torch.stack(order, -1), *rest], -1)
        hop = self.facts["hop"]
        mean = (coefficients.repeat_interleave(hop, 1) * batch["prior_basis"]).sum(2)
        log_scale = raw[..., scale_at].clamp(-5, 3) + batch["log_level"] - 0.7
        return mean, log_scale.repeat_interleave(hop, 1)

    def nats(self, weights, latent, batch):
        """Mean negative log-likelihood of a scored sample."""
        facts, codes = self.facts, batch["codes"]
        residual, hop = facts["residual"], facts["hop"]
        frames = self.frames(weights, latent, batch["singers"], batch["features"])
        conditions = F.linear(frames, weights["condition.weight"], weights["condition.bias"])
        conditions = conditions.transpose(1, 2).repeat_interleave(hop, 2)
        path = weights["decoder.input.current"][codes[:, 1:-1]] + weights["decoder.input.previous"][codes[:, :-2]]
        path = (path + F.linear(batch["excitation"], weights["decoder.excitation.weight"])).transpose(1, 2)
        skip = weights["decoder.skip_bias"][:, None]
        for layer, dilation in enumerate(facts["dilations"]):
            name = f"decoder.layers.{layer}."
            taps = torch.stack([weights[name + "previous"], weights[name + "current"]], 2)
            gates = F.conv1d(F.pad(path, (dilation, 0)), taps, dilation=dilation)
            gates = gates + conditions[:, 2 * residual * layer : 2 * residual * (layer + 1)]
            gated = torch.tanh(gates[:, :residual]) * torch.sigmoid(gates[:, residual:])
            skip = skip + F.conv1d(gated, weights[name + "skip.weight"][:, :, None])
            residual_weight = weights[name + "residual.weight"][:, :, None]
            path = path + F.conv1d(gated, residual_weight, weights[name + "residual.bias"])
        first = facts["unscored"]
        conditions = conditions[:, 2 * residual * len(facts["dilations"]) :, first:]
        hidden = F.conv1d(F.relu(skip[:, :, first:]), weights["decoder.head.hidden.weight"][:, :, None])
        output = weights["decoder.head.output.weight"][:, :, None]
        logits = F.conv1d(F.relu(hidden + conditions), output, weights["decoder.head.output.bias"])
        mean, log_scale = self.prior(weights, frames, batch)
        off = (self.values[:, None] - mean[:, None, first:]).abs() * torch.exp(-log_scale[:, None, first:])
        logits = logits + self.log_widths[:, None] - off - 2 * torch.log1p(torch.exp(-off))
        return F.cross_entropy(logits, batch["targets"][:, first:])

    def spectrum(self, weights, latent, singers, features):
        frames = self.frames(weights, latent, singers, features)
        return F.linear(frames, weights["spectrum.weight"], weights["spectrum.bias"])

    def confused(self, weights, latent, singers):
        """What the classifier pays; the latent's gradient is reversed."""
        strength = self.facts["confusion"]
        hidden = (1 + strength) * latent.detach() - strength * latent
        for layer in range(3):
            weight, bias = weights[f"confusion.{layer}.weight"], weights[f"confusion.{layer}.bias"]
            hidden = F.conv1d(hidden, weight, bias, padding=weight.shape[2] // 2)
            hidden = F.relu(hidden) if layer < 2 else hidden
        return F.cross_entropy(hidden.mean(2), singers)


class Critic:
    """engine/src/train/spectrum_critic.rs, whose arithmetic is not compared."""

    def __init__(self, bands, features, singers, device):
        self.weights, inputs = {}, bands + features
        shapes = [(CRITIC_CHANNELS, taps) for taps, _ in CRITIC_LAYERS] + [(singers, 1)]
        for layer, (outputs, taps) in enumerate(shapes):
            weight = torch.randn(outputs, inputs, taps, device=device) / (inputs * taps) ** 0.5
            self.weights[f"{layer}.weight"] = weight
            self.weights[f"{layer}.bias"] = torch.zeros(outputs, device=device)
            inputs = outputs
        blur = torch.zeros(bands, bands)
        for band in range(bands):
            for offset, share in enumerate(BLUR):
                blur[min(max(band + offset - 2, 0), bands - 1), band] += share
        self.over_bands, self.over_time = blur.to(device), torch.tensor(BLUR, device=device)

    def scores(self, weights, spectra, features, singers):
        smooth = (spectra @ self.over_bands).unfold(1, len(BLUR), 1) @ self.over_time
        hidden = torch.cat([smooth, features[:, 2:-2]], 2).transpose(1, 2)
        for layer, (_, dilation) in enumerate(CRITIC_LAYERS):
            hidden = F.conv1d(hidden, weights[f"{layer}.weight"], weights[f"{layer}.bias"], dilation=dilation)
            hidden = F.leaky_relu(hidden, CRITIC_LEAK)
        last = len(CRITIC_LAYERS)
        scores = F.conv1d(hidden, weights[f"{last}.weight"], weights[f"{last}.bias"])
        return scores[torch.arange(len(singers), device=scores.device), singers]

    def verdict(self, weights, own, taken, wanted):
        """What the networks pay and what the critic pays. Each is `(spectra, features, singers)`."""
        noisy = lambda spectra: spectra.detach() + CRITIC_NOISE * torch.randn_like(spectra)
        real = F.relu(1 - self.scores(weights, noisy(own[0]), *own[1:])).mean()
        fake = F.relu(1 + self.scores(weights, noisy(taken[0]), *taken[1:])).mean()
        misnamed = F.relu(1 + self.scores(weights, *wanted)).mean()
        fixed = {name: weight.detach() for name, weight in weights.items()}
        price = -CRITIC_WEIGHT * self.scores(fixed, *taken).mean()
        return price, real + fake + CRITIC_MISNAMED * misnamed


class Step:
    def __init__(self, facts, tensors, device):
        self.facts, self.device = facts, device
        self.network = Network(facts, device)
        self.given = part(tensors, "weight.")
        self.gradients, self.losses = part(tensors, "gradient."), part(tensors, "loss.")
        self.samples, self.spectra = part(tensors, "samples."), part(tensors, "spectra.")
        for name in ("codes", "targets"):
            self.samples[name] = self.samples[name].long()
        for batch in (self.samples, self.spectra):
            segments = torch.arange(len(batch["encoder_input"]), device=device)
            batch["singers"] = segments % facts["singers"]
        bands = self.given["spectrum.bias"].numel()
        self.critic = Critic(bands, self.spectra["features"].shape[2], facts["singers"], device)

    def three_losses(self, weights, noise):
        """Nats a sample, distance of spectra, what the classifier pays; and the spectra's latent and what is expected of it."""
        network, samples, spectra = self.network, self.samples, self.spectra
        noisy = lambda latent: latent + noise * torch.randn_like(latent) if noise else latent
        nats = network.nats(weights, noisy(network.encode(weights, samples["encoder_input"])), samples)
        latent = noisy(network.encode(weights, spectra["encoder_input"]))
        expected = network.spectrum(weights, latent, spectra["singers"], spectra["features"])
        distance = (expected.flatten(0, 1) - spectra["wanted"]).abs().mean()
        return nats, distance, network.confused(weights, latent, spectra["singers"]), latent, expected

    def total(self, weights, critic_weights):
        facts, spectra = self.facts, self.spectra
        nats, distance, confused, latent, expected = self.three_losses(weights, facts["latent_noise"])
        count, singers = len(latent), spectra["singers"]
        draw = lambda: torch.randint(1, facts["singers"], (count,), device=self.device)
        takers, misnamed = (singers + draw()) % facts["singers"], (singers + draw()) % facts["singers"]
        pitch, voiced, loudness = spectra["features"].split(1, 2)
        shifted = torch.cat([pitch + voiced * torch.randn(count, 1, 1, device=self.device), voiced, loudness], 2)
        taken = self.network.spectrum(weights, latent, takers, shifted)
        wanted = spectra["wanted"].view_as(expected)
        price, own = self.critic.verdict(
            critic_weights,
            (expected, spectra["features"], singers),
            (taken, shifted, takers),
            (wanted, spectra["features"], misnamed),
        )
        return nats + facts["distance_weight"] * distance + confused + price + own

    def compare(self):
        """Fails where PyTorch has other losses or gradients than we have."""
        weights = {name: weight.clone().requires_grad_() for name, weight in self.given.items()}
        nats, distance, confused, _, _ = self.three_losses(weights, 0)
        (nats + self.facts["distance_weight"] * distance + confused).backward()
        for name, loss in {"nats": nats, "distance": distance, "confused": confused}.items():
            theirs, ours = loss.item(), self.losses[name].item()
            assert abs(theirs / ours - 1) < 1e-4, f"{name}: {theirs}, where ours is {ours}"
        worst, size = ("", 0.0), 0
        for name, wanted in self.gradients.items():
            # What nothing depends on has none here and zeros with us: the last layer's residual path.
            gradient = torch.zeros_like(wanted) if weights[name].grad is None else weights[name].grad
            apart = float((gradient - wanted).norm() / wanted.norm().clamp_min(1e-12))
            worst = max(worst, (name, apart), key=lambda named: named[1])
            size += wanted.numel()
        for name, weight in weights.items():
            assert name in self.gradients or weight.grad is None, f"{name} has a gradient here, but not with us"
        # A rectifier within rounding of its corner falls either way: one of a million is a thousandth of a gradient's size.
        assert worst[1] < 5e-3, f"the gradient of {worst[0]} is {worst[1]:.1e} of its size apart"
        print(
            f"the same losses and gradients of {size} weights; the farthest apart, {worst[0]}, by {worst[1]:.1e} of its size"
        )

    def median_ms(self, compiled=None, bf16=False):
        facts = self.facts
        weights = {name: weight.clone().requires_grad_() for name, weight in self.given.items()}
        critic = {name: weight.clone().requires_grad_() for name, weight in self.critic.weights.items()}
        confusion = [weight for name, weight in weights.items() if name.startswith("confusion.")]
        # Those of the bank that nothing teaches have no gradient.
        bank = [weight for name, weight in weights.items() if name in self.gradients and not name.startswith("confusion.")]
        averages = [weight.detach().clone() for weight in bank]
        groups = [(bank, facts["learning_rate"]), (confusion, CONFUSION_RATE), (list(critic.values()), CRITIC_RATE)]
        adams = [torch.optim.Adam(group, rate, betas=(0.9, 0.98), fused=True) for group, rate in groups]
        total = torch.compile(self.total, mode=compiled) if compiled else self.total
        times = []
        for _ in range(STEPS):
            self.wait()
            start = time.perf_counter()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
                loss = total(weights, critic)
            loss.backward()
            for (group, _), adam in zip(groups, adams):
                torch.nn.utils.clip_grad_norm_(group, facts["gradient_norm"])
                adam.step()
                adam.zero_grad(set_to_none=True)
            with torch.no_grad():
                torch._foreach_lerp_(averages, bank, 1 - facts["average_decay"])
            assert math.isfinite(loss.item()), "the loss is not a number"
            self.wait()
            times.append(1e3 * (time.perf_counter() - start))
        return statistics.median(times[WARM_UP:])

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()


main()
