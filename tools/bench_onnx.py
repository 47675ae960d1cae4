#!/usr/bin/env python3
"""Measure ONNX files side by side in ONNX Runtime on the processor; the first is the baseline. Needs onnxruntime.

    bench_onnx.py MODEL.onnx [MODEL.onnx ...] [--batch 1,32] [--length 128] [--threads 2] [--repeats 30]

The files take turns, once each a round, so that what else the machine does meets all of them alike; the order turns
round with every round. Prints medians with the 10th and 90th percentile, and the ratio of the medians.
"""
import argparse
import time

import numpy
import onnxruntime


def open_session(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for work by spinning take the processor from the file whose turn it is.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def make_feeds(session, batch, length):
    ids = numpy.random.default_rng(0).integers(5, 20000, (batch, length))
    values = {"input_ids": ids, "attention_mask": numpy.ones_like(ids), "token_type_ids": numpy.zeros_like(ids)}
    return {i.name: values[i.name] for i in session.get_inputs()}


def measure(sessions, batch, length, repeats, clock):
    feeds = [make_feeds(session, batch, length) for session in sessions]
    for session, feed in zip(sessions, feeds):
        session.run(None, feed)
    seconds = [[] for _ in sessions]
    for repeat in range(repeats):
        order = range(len(sessions)) if repeat % 2 == 0 else reversed(range(len(sessions)))
        for i in order:
            start = clock()
            sessions[i].run(None, feeds[i])
            seconds[i].append(clock() - start)
    return 1e3 * numpy.array(seconds)


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--batch", type=numbers, default=[1, 32])
    parser.add_argument("--length", type=numbers, default=[128])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--processor-time", action="store_true", help="of all threads, not the clock on the wall")
    args = parser.parse_args()
    sessions = [open_session(path, args.threads) for path in args.models]
    clock = time.process_time if args.processor_time else time.perf_counter
    for batch in args.batch:
        for length in args.length:
            times = measure(sessions, batch, length, args.repeats, clock)
            for path, one in zip(args.models, times):
                low, median, high = numpy.percentile(one, (10, 50, 90))
                ratio = numpy.median(times[0]) / median
                print(f"batch {batch:>3} x {length:<4} {median:9.2f} ms  [{low:.2f}, {high:.2f}]  {ratio:.2f}x  {path}",
                      flush=True)


if __name__ == "__main__":
    main()
