"""Bounces a take through a VST3 plugin in pedalboard. The only argument is a task in JSON."""
import json
import sys

import numpy as np
import pedalboard

task = json.loads(sys.argv[1])
plugin = pedalboard.load_plugin(task["plugin"])
for name, value in task["settings"]:
    parameter = next(p for p in plugin.parameters.values() if p.name == name)
    parameter.raw_value = parameter.get_raw_value_for(value) if isinstance(value, str) else value
take = np.fromfile(task["input"], "<f4")
sound = plugin.process(
    np.stack([take, take]), float(task["sample_rate_hz"]), buffer_size=task["block_samples"], reset=True
)
assert sound.shape == (2, len(take)), sound.shape
sound.astype("<f4").tofile(task["output"])
print(plugin.reported_latency_samples)
