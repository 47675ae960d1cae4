#!/usr/bin/env python3
"""Hold an ONNX file of coppice's against other people's tools: onnx's checker, ONNX Runtime's quantizer to int8 and its
converter to float16. Needs onnx and onnxruntime.

    check_onnx.py MODEL.onnx < REQUEST > RESULT

REQUEST  as for src/eval/run_onnx.py
RESULT   {"operators": domains and names, "int8": number, "float16": number, "fused": number, "optimized": number}

int8 and float16 are the differences from the file's own outputs, where real tokens stand, relative in the Euclidean
norm; fused counts the nodes of com.microsoft that are in the file, optimized those after ONNX Runtime's
own optimization.
"""
import json
import pathlib
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.transformers.float16 import convert_float_to_float16


def run(path, batches, optimized=None):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    if optimized:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return [session.run(None, {i.name: numpy.array(batch[i.name], numpy.int64) for i in session.get_inputs()})
            for batch in batches]


def difference(reference, other, batches):
    gaps, sizes = [], []
    for batch, a, b in zip(batches, reference, other):
        real = numpy.array(batch["attention_mask"], bool)
        for x, y in zip(a, b):
            by_token = x.shape[:2] == real.shape
            gaps.append((x - y)[real].ravel() if by_token else (x - y).ravel())
            sizes.append(x[real].ravel() if by_token else x.ravel())
    return float(numpy.linalg.norm(numpy.concatenate(gaps)) / numpy.linalg.norm(numpy.concatenate(sizes)))


def fused_nodes(path):
    graph = onnx.load(path, load_external_data=False).graph
    return sum(node.domain == "com.microsoft" for node in graph.node)


def main():
    path = pathlib.Path(sys.argv[1])
    batches = json.load(sys.stdin)["batches"]
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        reference = run(path, batches, work / "optimized.onnx")
        quantize_dynamic(path, work / "int8.onnx", weight_type=QuantType.QInt8, per_channel=True)
        onnx.save(convert_float_to_float16(model, keep_io_types=True), work / "float16.onnx")
        result = {
            "operators": sorted({f"{node.domain}:{node.op_type}" for node in onnx.load(path).graph.node}),
            "int8": difference(reference, run(work / "int8.onnx", batches), batches),
            "float16": difference(reference, run(work / "float16.onnx", batches), batches),
            "fused": fused_nodes(path),
            "optimized": fused_nodes(work / "optimized.onnx"),
        }
    json.dump(result, sys.stdout)


main()
