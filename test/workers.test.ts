import { join } from 'node:path';
import { evalFolder } from './support/models';
import { runProgram } from './support/run';

test('worker threads may each load a model, beside the main thread', async () => {
  const receipt = JSON.stringify(join(evalFolder, 'demo', 'receipt.png'));
  const answer = `
    const model = await nvlm.load(name);
    const messages = [{ role: 'user', content: [{ type: 'image', image: ${receipt} }, { type: 'text', text: 'What is the total?' }] }];
    const { text } = await model.generate({ messages });
    await model.close();`;
  const { code, stdout, stderr } = await runProgram(`
    const { Worker } = require('node:worker_threads');
    const source = 'const { workerData: name, parentPort } = require("node:worker_threads"); const nvlm = require("PACKAGE"); (async () => {' +
      ${JSON.stringify(answer)} + 'parentPort.postMessage(text); })();';
    const inWorker = name => new Promise((resolve, reject) => {
      const worker = new Worker(source.replace('PACKAGE', require.resolve('./dist/index.js')), { eval: true, workerData: name });
      worker.once('message', resolve);
      worker.once('error', reject);
    });
    const here = async name => { ${answer} return text; };
    console.log(JSON.stringify(await Promise.all([inWorker('nvlm-tiny-d'), inWorker('nvlm-tiny-x'), inWorker('nvlm-tiny-h'), here('nvlm-tiny-d')])));`);
  expect([code, stderr]).toEqual([0, '']);
  expect(JSON.parse(stdout)).toEqual(['$26.14', '$26.14', '$26.14', '$26.14']);
});
