"""Time ONNX files in ONNX Runtime on the processor, for coppice's latency budgets and its bench.

    time_onnx.py < REQUEST > RESULT

REQUEST  {"files": [...], "batch", "tokens", "vocabulary", "threads", "least", "most", "seconds"}
RESULT   {"runtime": "onnxruntime X.Y.Z", "ms": [[of every round], ...]}, in the order of the files

The files take turns as coppice's own models do (latency/stopwatch.h). Exit code 69 where onnxruntime cannot be imported.
"""
import json
import sys
import time

SHORT = 0.05  # seconds; a shorter turn runs twice and counts the second time


def open_session(onnxruntime, path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for work by spinning take the processor from the file whose turn it is.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def make_feeds(numpy, session, request):
    shape = (request["batch"], request["tokens"])
    ids = numpy.random.default_rng(0).integers(min(5, request["vocabulary"] - 1), request["vocabulary"], shape)
    values = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
    return {i.name: values[i.name] for i in session.get_inputs()}


def run(session, feeds):
    start = time.perf_counter()
    session.run(None, feeds)
    return time.perf_counter() - start


def take_turns(turns, request):
    twice = []
    for turn in turns:
        run(*turn)
        twice.append(run(*turn) < SHORT)
    ms = [[] for _ in turns]
    start = time.perf_counter()
    for i in range(max(request["least"], request["most"])):
        if i >= request["least"] and time.perf_counter() - start >= request["seconds"]:
            break
        for k in range(len(turns)) if i % 2 == 0 else reversed(range(len(turns))):
            if twice[k]:
                run(*turns[k])
            ms[k].append(1e3 * run(*turns[k]))
    return ms


def main():
    try:
        import numpy
        import onnxruntime
    except ImportError as error:
        sys.exit(print(error, file=sys.stderr) or 69)
    request = json.load(sys.stdin)
    sessions = [open_session(onnxruntime, path, request["threads"]) for path in request["files"]]
    turns = [(session, make_feeds(numpy, session, request)) for session in sessions]
    ms = take_turns(turns, request) if turns else []
    json.dump({"runtime": f"onnxruntime {onnxruntime.__version__}", "ms": ms}, sys.stdout)


main()
