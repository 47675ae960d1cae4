"""Run an ONNX file in ONNX Runtime, for coppice's check of what it wrote.

    run_onnx.py MODEL.onnx < REQUEST > RESULT

REQUEST  {"threads": N, "batches": [{"NAME": rows of integers, ...}, ...]}; what the model has no input for is left out
RESULT   {"runtime": "onnxruntime X.Y.Z", "outputs": [{"NAME": nested lists of numbers, ...}, ...],
          "shapes": {"NAME of an output": [size, or null where it is free], ...}}

Exit code 69 where onnxruntime cannot be imported.
"""
import json
import sys


def main():
    try:
        import numpy
        import onnxruntime
    except ImportError as error:
        sys.exit(print(error, file=sys.stderr) or 69)
    request = json.load(sys.stdin)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    shapes = {o.name: [size if isinstance(size, int) else None for size in o.shape] for o in session.get_outputs()}
    names = list(shapes)
    outputs = []
    for batch in request["batches"]:
        feeds = {i.name: numpy.array(batch[i.name], numpy.int64) for i in session.get_inputs()}
        values = session.run(names, feeds)
        outputs.append({name: value.astype("float64").tolist() for name, value in zip(names, values)})
    json.dump({"runtime": f"onnxruntime {onnxruntime.__version__}", "outputs": outputs, "shapes": shapes}, sys.stdout)


main()
