import { ownBytes } from 'nvlm/dist/image/own-bytes.js';
import { failureOf } from './support/failure';
import { runProgram } from './support/run';

const counted = (length: number): Uint8Array => Uint8Array.from({ length }, (_, k) => (k * 7) % 251);
/** Far more than is copied in one turn of the event loop. */
const LONG = 64e6;

test('bytes are copied, wherever they begin in their buffer, and only as many as asked for', async () => {
  const bytes = counted(300_000).subarray(5);
  const copy = await ownBytes(bytes, 200_000, 'image');
  expect(copy.equals(bytes.subarray(0, 200_000))).toBe(true);
  bytes.fill(255);
  expect(copy.equals(counted(200_005).subarray(5))).toBe(true);
});

test('a long copy gives way to the event loop, and many at once take no more of it than one', async () => {
  let turns = 0;
  const count = (): void => {
    turns++;
    turning = setImmediate(count);
  };
  let turning = setImmediate(count);
  const long = counted(LONG / 4);
  await Promise.all(Array.from({ length: 4 }, () => ownBytes(long, long.length, 'image')));
  clearImmediate(turning);
  expect(turns).toBeGreaterThan(4);
});

test.each([
  [
    'transferred',
    (bytes: Uint8Array) => void structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] }),
  ],
  ['shrunk', (bytes: Uint8Array) => (bytes.buffer as ArrayBuffer & { resize(length: number): void }).resize(1000)],
])('bytes that are %s while they are copied are refused', async (_, take) => {
  const bytes = new Uint8Array(
    new (ArrayBuffer as new (length: number, options: object) => ArrayBuffer)(LONG, { maxByteLength: LONG }),
  );
  const copy = ownBytes(bytes, LONG, 'images[0].data');
  take(bytes);
  const error = await failureOf(() => copy);
  expect(error.code).toBe('bad-messages');
  expect(error.message).toMatch(/^images\[0\]\.data was transferred or shrunk before all of its bytes were read\./);
});

test('more bytes than can be reserved are out of memory', async () => {
  const error = await failureOf(() => ownBytes(new Uint8Array(8), 2 ** 50, 'image.data'));
  expect(error.code).toBe('out-of-memory');
  expect(error.message).toContain(`image.data takes ${2 ** 50} bytes`);
});

/** Every buffer is taken away right after the call began or some turns later, filled with white, and dropped; in a process of its own, since the mistake is a crash. */
const takesAway = `
  const sharp = require('sharp');
  const model = await nvlm.load('nvlm-tiny-d', { threads: 1 });
  const ask = image => ({ messages: [{ role: 'user', content: [{ type: 'image', image }, { type: 'text', text: 'What is the total?' }] }] });
  const give = async (width, height, channels) => {
    const receipt = sharp('test/eval/demo/receipt.png').removeAlpha().resize(width, height, { fit: 'fill' });
    if (channels === undefined) return { bytes: await receipt.png().toBuffer(), wrap: bytes => bytes };
    const data = await (channels === 4 ? receipt.ensureAlpha() : receipt).raw().toBuffer();
    return { bytes: data, wrap: data => ({ data, width, height, channels }) };
  };
  const given = { small: await give(112, 168, 3), rgb: await give(2000, 3000, 3), rgba: await give(1000, 1500, 4), file: await give(1000, 1500) };
  const calls = {
    generate: async image => (await model.generate(ask(image))).text,
    encodeImage: async image => {
      const handle = await model.encodeImage(image);
      const { text } = await model.generate(ask(handle));
      handle.release();
      return text;
    },
    countTokens: async image => JSON.stringify((await model.countTokens(ask(image))).images),
  };
  const outcomes = {};
  for (const [name, { bytes, wrap }] of Object.entries(given)) {
    for (const [method, call] of Object.entries(calls)) {
      const right = await call(wrap(bytes));
      const seen = (outcomes[name + ' ' + method] = { right: 0, refused: 0, wrong: [] });
      for (let i = 0; i < 6; i++) {
        const own = new Uint8Array(bytes);
        const answer = call(wrap(own)).then(text => ({ text }), error => ({ code: error.code }));
        for (let turn = 0; turn < i; turn++) await new Promise(setImmediate);
        new Uint8Array(structuredClone(own.buffer, { transfer: [own.buffer] })).fill(255);
        gc();
        const { text, code } = await answer;
        if (text === right) seen.right++;
        else if (code === 'bad-messages') seen.refused++;
        else seen.wrong.push({ text, code });
      }
    }
  }
  await model.close();
  console.log(JSON.stringify(outcomes));`;

test('an image whose memory is taken away during the call is read rightly or refused; what is small is read at the call', async () => {
  const { code, signal, stdout, stderr } = await runProgram(takesAway, ['--expose-gc']);
  expect([code, signal, stderr]).toEqual([0, null, '']);
  const outcomes = JSON.parse(stdout) as Record<string, { right: number; refused: number; wrong: unknown[] }>;
  expect(Object.values(outcomes).flatMap(({ wrong }) => wrong)).toEqual([]);
  for (const method of ['generate', 'encodeImage', 'countTokens'])
    expect([method, outcomes[`small ${method}`]?.right]).toEqual([method, 6]);
}, 120_000);
