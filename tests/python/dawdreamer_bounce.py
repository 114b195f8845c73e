"""Bounces a take through a VST3 plugin in DawDreamer. The only argument is a task in JSON."""
import json
import sys

import dawdreamer
import numpy as np

task = json.loads(sys.argv[1])
rate = task["sample_rate_hz"]
take = np.fromfile(task["input"], "<f4")
engine = dawdreamer.RenderEngine(rate, task["block_samples"])
plugin = engine.make_plugin_processor("falsetto", task["plugin"])
indices = {d["name"]: d["index"] for d in plugin.get_parameters_description()}


def set_by_text(index, text):
    """DawDreamer cannot read a text, so the values are tried one after the other."""
    for step in range(1001):
        plugin.set_parameter(index, step / 1000)
        if plugin.get_parameter_text(index) == text:
            return
    raise SystemExit(f"parameter {index} is never written as {text}")


for name, value in task["settings"]:
    if isinstance(value, str):
        set_by_text(indices[name], value)
    else:
        plugin.set_parameter(indices[name], value)
source = engine.make_playback_processor("take", np.stack([take, take]))
engine.load_graph([(source, []), (plugin, ["take"])])
engine.render(len(take) / rate)
sound = np.asarray(engine.get_audio())[:, : len(take)]
assert sound.shape == (2, len(take)), sound.shape
sound.astype("<f4").tofile(task["output"])
print(plugin.get_latency_samples())
