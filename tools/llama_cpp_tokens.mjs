// Tokenises texts with stock llama.cpp, for src/export/llama_cpp_test.cc: a GGUF file's vocabulary as others read it.
//   node llama_cpp_tokens.mjs NODE_LLAMA_CPP MODEL.gguf '["text", ...]'
// NODE_LLAMA_CPP: the folder of that npm package. Prints, as one JSON line, {"ids": [[...], ...]}; special tokens in a text
// are taken as such, none is added.
import { pathToFileURL } from "node:url";

const [library, model_path, texts_json] = process.argv.slice(2);
const { getLlama } = await import(pathToFileURL(library + "/dist/index.js").href);
const llama = await getLlama({ gpu: false, build: "never", skipDownload: true, logLevel: "error" });
const model = await llama.loadModel({ modelPath: model_path, vocabOnly: true });
const ids = JSON.parse(texts_json).map((text) => model.tokenize(text, true));
console.log(JSON.stringify({ ids }));
process.exit(0);
