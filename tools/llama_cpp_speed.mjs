// Measures GGUF files in stock llama.cpp, in turn: tokens a second read (prefill) and written (decode, greedy), medians.
//   node llama_cpp_speed.mjs NODE_LLAMA_CPP '{"prompt": 512, "decode": 64, "repeats": 9, "threads": 2}' DENSE.gguf PRUNED.gguf ...
// NODE_LLAMA_CPP: the folder of that npm package (build/llama_cpp/node_modules/node-llama-cpp). Prints, as one JSON line, for each
// file the medians with the lowest and highest of the repeats, and their ratios to the first file's. After one round to warm up.
import { pathToFileURL } from "node:url";

const [library, options_json, ...files] = process.argv.slice(2);
const { prompt, decode, repeats, threads } = { prompt: 512, decode: 64, repeats: 9, threads: 2, ...JSON.parse(options_json) };
const { getLlama } = await import(pathToFileURL(library + "/dist/index.js").href);
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error", maxThreads: threads });

const runs = [];
for (const file of files) {
  const model = await llama.loadModel({ modelPath: file });
  const context = await model.createContext({ contextSize: prompt + decode + 8, batchSize: prompt, threads });
  runs.push({ file, sequence: context.getSequence(), prefill: [], decode: [] });
}
const ids = Array.from({ length: prompt }, (_, i) => 1000 + ((i * 7919) % 20000));

for (let repeat = 0; repeat <= repeats; repeat++) {
  for (const run of runs) {
    await run.sequence.clearHistory();
    const start = performance.now();
    await run.sequence.evaluateWithoutGeneratingNewTokens(ids);
    const middle = performance.now();
    let written = 0;
    for await (const token of run.sequence.evaluate([1000 + repeat], { temperature: 0, yieldEogToken: true })) {
      if (++written === decode) break;
    }
    const end = performance.now();
    if (repeat === 0) continue;
    run.prefill.push((1000 * prompt) / (middle - start));
    run.decode.push((1000 * written) / (end - middle));
  }
}

const summary = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  return { median: sorted[Math.floor(sorted.length / 2)], low: sorted[0], high: sorted[sorted.length - 1] };
};
const results = runs.map((run) => ({ file: run.file, prefill: summary(run.prefill), decode: summary(run.decode) }));
for (const result of results) {
  for (const kind of ["prefill", "decode"]) result[kind].ratio = result[kind].median / results[0][kind].median;
}
console.log(JSON.stringify({ release: llama.llamaCppRelease.release, prompt, decode, threads, results }));
process.exit(0);
