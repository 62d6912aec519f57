import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { evalFolder, root } from './support/models';
import { type Finished, runNode } from './support/run';

const demo = (name: string): string => join(evalFolder, 'demo', name);
const example = (name: string, ...args: string[]): Promise<Finished> =>
  runNode([join(root, 'examples', name), ...args]);

test('ask.mjs answers, and says what is wrong', async () => {
  const { code, stdout } = await example('ask.mjs', demo('receipt.png'), 'What is the total?');
  expect(code).toBe(0);
  expect(stdout).toMatch(/^\$26\.14\n2x3 grid, 7 tiles, 162 \+ 6 tokens, \d+ ms\n$/);
  const missing = await example('ask.mjs', 'missing.png', 'What is the total?');
  expect(missing.code).toBe(1);
  expect(missing.stderr).toMatch(/^file-not-found: .*missing\.png/);
});

test('stream.cjs prints the answer as it comes, and stops early when its time is over', async () => {
  const whole = await example('stream.cjs', demo('sign.png'), 'What does the text say?');
  expect(whole).toMatchObject({ code: 0, stdout: 'HOTEL\nWELCOME\n(stop, 13 tokens)\n', stderr: '' });
  const stopped = await example('stream.cjs', demo('sign.png'), 'What does the text say?', 'nvlm-tiny-d', '1');
  expect(stopped).toMatchObject({ code: 0, stderr: '' });
  expect(stopped.stdout).toMatch(/\n\(stopped early\)\n$/);
});

test('chat.mjs encodes its image once for all turns', async () => {
  const { code, stdout, stderr } = await example(
    'chat.mjs',
    demo('receipt.png'),
    'What is the total?',
    'How much is the tea?',
  );
  expect([code, stderr]).toEqual([0, '']);
  expect(stdout).toBe('> What is the total?\n$26.14\n> How much is the tea?\n$1.90\n7 tiles encoded in 2 turns\n');
});

test('server.mjs streams server-sent events, refuses what it cannot take, and ends on SIGTERM', async () => {
  const server = spawn(process.execPath, [join(root, 'examples', 'server.mjs')], {
    env: { ...process.env, PORT: '0' },
  });
  const ended = new Promise(resolve => server.on('close', resolve));
  try {
    const origin = await new Promise<string>((resolve, reject) => {
      server.on('close', () => reject(new Error('The server ended before it listened.')));
      server.stdout.on('data', (data: Buffer) => resolve(data.toString().trim().replace('listening on ', '')));
    });
    const ask = (body: Buffer): Promise<Response> =>
      fetch(`${origin}/ask?question=What+is+the+total%3F`, { method: 'POST', body });

    const answer = await ask(readFileSync(demo('receipt.png')));
    expect(answer.headers.get('content-type')).toBe('text/event-stream');
    const events = (await answer.text()).trim().split('\n\n');
    const data = events.map(event => JSON.parse(event.split('\ndata: ')[1] ?? '') as unknown);
    expect(data.slice(0, -1).join('')).toBe('$26.14');
    expect(events.at(-1)).toContain('event: finish');
    expect(data.at(-1)).toMatchObject({ promptTokens: 162, generatedTokens: 6 });

    expect(await (await ask(Buffer.from('no image'))).text()).toContain('"code":"not-an-image"');
    expect((await fetch(origin)).status).toBe(404);
    expect((await ask(Buffer.alloc(20e6 + 1))).status).toBe(413);
  } finally {
    server.kill('SIGTERM');
  }
  expect(await ended).toBe(0);
});
