"""Prints what TensorBoard's own reader finds in a folder, as JSON: tag to [step, value] of scalars, tag to [step,
count, sum of the bins] of histograms."""
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import HISTOGRAMS, SCALARS, EventAccumulator

reader = EventAccumulator(sys.argv[1], size_guidance={SCALARS: 0, HISTOGRAMS: 0})
reader.Reload()
scalars = {tag: [[event.step, event.value] for event in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
histograms = {
    tag: [[event.step, event.histogram_value.num, sum(event.histogram_value.bucket)] for event in reader.Histograms(tag)]
    for tag in reader.Tags()["histograms"]
}
print(json.dumps({"scalars": scalars, "histograms": histograms}))
