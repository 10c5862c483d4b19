// TensorFlow.js as a backend: tf.conv1d, tf.pad before it, and tf.conv2d of height 1, with gradients (annex Protocol).
"use strict";
const fs = require("fs");

console.log = console.info = console.warn = console.error; // standard output is for frames alone
let tf = null;
let missing = "";
try {
  tf = require("@tensorflow/tfjs");
} catch (error) {
  missing = `${error.message.split("\n")[0]}: npm install @tensorflow/tfjs`;
}

// x (N, C, L) as NWC, w (O, C, K) as (K, C, O), y (N, L_out, O) back to (N, O, L_out)
const nwc = (x) => tf.transpose(x, [0, 2, 1]);
const kco = (w) => tf.transpose(w, [2, 1, 0]);
const finish = (y, b) => tf.transpose(b ? tf.add(y, b) : y, [0, 2, 1]);
const pads = (padding) => (Array.isArray(padding) ? [[0, 0], [0, 0], padding, [0, 0]] : padding);

// What has no place in a call of tfjs: groups other than 1, and any argument that is not named.
function expressible(groups, more) {
  if (groups !== 1) throw new TypeError("TensorFlow.js has no grouped convolution");
  for (const name of Object.keys(more)) throw new TypeError(`no argument ${name}`);
}

function conv1d(x, w, b, { stride, padding, dilation, groups, ...more }) {
  expressible(groups, more);
  return finish(tf.conv1d(nwc(x), kco(w), stride, pads(padding), "NWC", dilation), b);
}

function padded(x, w, b, { stride, padding, dilation, groups, padding_mode: mode = "zeros", padding_value: value = 0, ...more }) {
  expressible(groups, more);
  const constant = mode === "zeros" || mode === "constant";
  const widths = [[0, 0], padding, [0, 0]];
  const xp = constant ? tf.pad(nwc(x), widths, value) : tf.mirrorPad(nwc(x), widths, mode);
  return finish(tf.conv1d(xp, kco(w), stride, "valid", "NWC", dilation), b);
}

function conv2d(x, w, b, { stride, padding, dilation, groups, ...more }) {
  expressible(groups, more);
  const high = tf.conv2d(tf.expandDims(nwc(x), 1), tf.expandDims(kco(w), 0), [1, stride], pads(padding), "NHWC", [1, dilation]);
  return finish(tf.squeeze(high, [1]), b);
}

const surfaces = { functional: conv1d, padded, conv2d };

const hello = () => ({
  type: "hello",
  protocol: 1,
  name: "tfjs",
  versions: { tfjs: tf.version.tfjs },
  native: "tfjs",
  devices: ["cpu"],
  dtypes: ["float32"],
  surfaces: Object.keys(surfaces),
  transforms: ["vjp"],
  limits: {
    "groups != 1": "TensorFlow.js has no grouped convolution",
    "stride > 1 and dilation > 1": "TensorFlow.js has one of them at a time",
    "padding in ('same_lower', 'causal', 'full')": "TensorFlow.js has the names valid and same",
    "surface == 'padded' and padding != 'explicit'": "tf.pad takes numbers",
    "surface != 'padded' and padding_mode != 'zeros'": "its convolutions pad with zeros",
    "padding_mode in ('replicate', 'circular')": "TensorFlow.js has no such padding",
    "function == 'vjp' and dilation > 1 and wrt != 'b'": "no gradient of a dilated convolution",
  },
});
const unable = () => ({ type: "refused", error: "Error", message: missing });

const kinds = { float32: Float32Array, int32: Int32Array };

function tensor({ dtype, shape, data }) {
  if (!(dtype in kinds)) throw new TypeError(`TensorFlow.js has no ${dtype}`);
  return tf.tensor(new kinds[dtype](new Uint8Array(data).buffer), shape, dtype);
}

function encode(name, t) {
  const values = new kinds[t.dtype](t.dataSync());
  return { name, dtype: t.dtype, shape: t.shape, data: Buffer.from(values.buffer) };
}

function compute({ program, surface, wrt, arguments: given }, arrays) {
  const operands = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, tensor(array)]));
  const f = (changed) => {
    const { x, w, b } = { ...operands, ...changed };
    return surfaces[surface](x, w, b, given);
  };
  let results;
  if (program === "conv1d") {
    results = { y: f({}) };
  } else if (program === "vjp") {
    const names = [...wrt];
    const g = tf.grads((...primals) => f(Object.fromEntries(names.map((name, i) => [name, primals[i]]))));
    const found = g(names.map((name) => operands[name]), operands.cotangent);
    results = Object.fromEntries(names.map((name, i) => [`g${name}`, found[i]]));
  } else {
    throw new Error(`no program ${program}`);
  }
  const sent = Object.entries({ ...operands, ...results }).map(([name, t]) => encode(name, t));
  return [{ type: "result", results: Object.keys(results) }, sent];
}

function answer(header, arrays) {
  if (header.type === "hello") return [tf ? hello() : unable(), []];
  try {
    return tf.tidy(() => compute(header, arrays));
  } catch (error) {
    return [{ type: "refused", error: error.name, message: error.message }, []];
  }
}

function read(count) {
  const data = Buffer.alloc(count);
  for (let at = 0, got; at < count; at += got) {
    got = fs.readSync(0, data, at, count - at);
    if (got === 0) process.exit(0); // the suite has closed its end
  }
  return data;
}

function write(data) {
  for (let at = 0; at < data.length; ) at += fs.writeSync(1, data, at);
}

const special = (_, value) => (value !== null && typeof value === "object" && "float" in value ? Number(value.float.replace("inf", "Infinity")) : value);

(tf ? tf.setBackend("cpu") : Promise.resolve()).then(() => {
  for (;;) {
    const header = JSON.parse(read(read(4).readUInt32LE()), special);
    const arrays = {};
    for (const entry of header.arrays) arrays[entry.name] = { ...entry, data: read(entry.bytes) };
    const [reply, sent] = answer(header, arrays);
    const entries = sent.map(({ data, ...entry }) => ({ ...entry, bytes: data.length }));
    const encoded = Buffer.from(JSON.stringify({ ...reply, arrays: entries }));
    const length = Buffer.alloc(4);
    length.writeUInt32LE(encoded.length);
    write(Buffer.concat([length, encoded, ...sent.map(({ data }) => data)]));
  }
});
