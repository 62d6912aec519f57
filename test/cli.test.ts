import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Device, tileImage } from 'nvlm';
import sharp from 'sharp';
import { bundled, emulator, endless, evalFolder, picture, root } from './support/models';
import { runCli, runNode } from './support/run';

const receipt = join(evalFolder, 'demo', 'receipt.png');

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvlm-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('nvlm ask', () => {
  test.each(bundled)('asks %s', async model => {
    const { code, stdout, stderr } = await runCli(['ask', receipt, 'What is the total?', '--model', model]);
    expect([code, stdout, stderr]).toEqual([0, '$26.14\n', '']);
  });

  test('takes the image from standard input', async () => {
    const { code, stdout } = await runCli(['ask', '-', 'What is the total?'], readFileSync(receipt));
    expect([code, stdout]).toEqual([0, '$26.14\n']);
  });

  test('takes several images, or none', async () => {
    const two = await runCli([
      'ask',
      receipt,
      picture,
      'What is the total?',
      '--json',
      '-m',
      'nvlm-tiny-x',
      '--max-tiles',
      '2',
    ]);
    expect(two.code).toBe(0);
    const { usage } = JSON.parse(two.stdout) as { usage: { images: { tiles: number }[] } };
    expect(usage.images.map(({ tiles }) => tiles)).toEqual([3, 3]);
    expect((await runCli(['ask', 'What is 2 + 3?'])).stdout).toBe('5\n');
  });

  test('prints everything with --json', async () => {
    const { stdout } = await runCli([
      'ask',
      receipt,
      'What is the total?',
      '--json',
      '--seed',
      '5',
      '--temperature',
      '0',
    ]);
    expect(JSON.parse(stdout)).toMatchObject({
      model: 'nvlm-tiny-d',
      text: '$26.14',
      finishReason: 'stop',
      seed: 5,
      usage: { imageTokens: 112 },
    });
  });

  test('passes its options on', async () => {
    const { stdout } = await runCli(['ask', receipt, 'What is the total?', '--max-tokens', '2', '--threads', '1']);
    expect('$26.14'.startsWith(stdout.trim())).toBe(true);
    expect(stdout.trim().length).toBeLessThan(6);
    expect((await runCli(['ask', receipt, 'What is the total?', '--stop', '.'])).stdout).toBe('$26\n');
  });
});

describe('nvlm tiles', () => {
  test('draws the grid, its tags and the thumbnail', async () => {
    const output = join(folder, 'tiles.png');
    const { code, stdout, stderr } = await runCli(['tiles', picture, '-o', output, '--json']);
    expect([code, stderr]).toEqual([0, '']);
    expect(JSON.parse(stdout)).toMatchObject({ columns: 3, rows: 2, tileSize: 112 });
    const { width, height, format } = await sharp(output).metadata();
    expect([format, width, height]).toEqual(['png', 4 * 124 + 2 * 12, 2 * (112 + 26 + 12) + 12]);
    // Every tile stands under its tag, the thumbnail to the right of the grid.
    const { pixels } = await tileImage(picture);
    for (const [tile, expected] of pixels.entries()) {
      const [column, row, gap] = tile < 6 ? [tile % 3, Math.floor(tile / 3), 12] : [3, 0, 24];
      const area = { left: gap + column * 124, top: 12 + row * 150 + 26, width: 112, height: 112 };
      const drawn = await sharp(output).extract(area).removeAlpha().raw().toBuffer();
      expect([tile, drawn.equals(expected)]).toEqual([tile, true]);
    }
    // The line above it holds the tag: dark letters on the light ground.
    const line = await sharp(output)
      .extract({ left: 12, top: 12, width: 112, height: 26 })
      .greyscale()
      .raw()
      .toBuffer();
    expect(Math.min(...line)).toBeLessThan(120);
  });

  test('tells of frames that it left out', async () => {
    const animated = join(__dirname, 'fixtures', 'images', 'animated.webp');
    const drawn = await runCli(['tiles', animated, '-o', join(folder, 'first.png')]);
    expect(drawn.stdout).toContain('; the first of 3 pictures in the file');
    const asked = await runCli(['ask', animated, 'What is this?', '--max-tokens', '1']);
    expect([asked.code, asked.stderr]).toEqual([
      0,
      expect.stringMatching(/^nvlm: messages\[0\]\.content\[0\]\.image holds 3 pictures .*\n$/),
    ]);
  });

  test('writes the picture to standard output', async () => {
    const { code, stderr } = await runCli(['tiles', '-', '-o', '-'], readFileSync(picture));
    expect(code).toBe(0);
    expect(stderr).toContain('3x2 grid of 112, 7 tiles');
  });

  test('needs an output', async () => {
    const { code, stderr } = await runCli(['tiles', picture]);
    expect(code).toBe(2);
    expect(stderr).toContain('--output');
  });
});

test('nvlm inspect shows sizes, memory, tokens per image and the program', async () => {
  const { code, stdout } = await runCli(['inspect', 'nvlm-tiny-x']);
  expect(code).toBe(0);
  for (const part of ['NVLM-X', 'Parameters', 'Memory', 'Image tokens', '4032x3024', 'Decoder program', 'attention'])
    expect(stdout).toContain(part);
  const json = JSON.parse((await runCli(['inspect', 'nvlm-tiny-x', '--json', '--max-tiles', '12'])).stdout) as Record<
    string,
    unknown
  >;
  expect(json).toMatchObject({
    architecture: 'NVLM-X',
    maxTiles: 12,
    images: expect.arrayContaining([expect.objectContaining({ width: 1024, columns: 4, rows: 3 })]),
  });
});

test('nvlm models lists what is bundled', async () => {
  const { stdout } = await runCli(['models']);
  expect(
    stdout
      .trim()
      .split('\n')
      .map(line => line.split(/\s+/)[0]),
  ).toEqual(bundled);
  const json = JSON.parse((await runCli(['models', '--json'])).stdout) as { name: string; memory: number }[];
  expect(json.map(({ name }) => name)).toEqual(bundled);
  expect(json.every(({ memory }) => memory > 1e6)).toBe(true);
});

test('nvlm devices lists the CPU and the GPUs, with the reason where there is none', async () => {
  const { code, stdout } = await runCli(['devices'], '', { NVLM_CUDA_LIBRARY: emulator });
  expect([code, stdout.trim().split('\n')]).toEqual([
    0,
    [
      expect.stringMatching(/^cpu {6}CPU, (generic|avx2), [1-9]\d* threads, [\d.]+ of [\d.]+ GB free$/),
      expect.stringMatching(/^cuda:0 {3}[^,]+, compute capability 8\.0, driver for CUDA 13\.0, 0\.8 of 0\.8 GB free$/),
    ],
  ]);
  const none = await runCli(['devices'], '', { NVLM_CUDA_LIBRARY: '' });
  expect(none.stdout).toMatch(/^cuda {5}unavailable: This package has no CUDA library/m);
  const json = JSON.parse((await runCli(['devices', '--json'])).stdout) as Device[];
  expect(json[0]).toMatchObject({ id: 'cpu', available: true });
});

test('nvlm ask and inspect take a device', async () => {
  const env = { NVLM_CUDA_LIBRARY: '' };
  const asked = await runCli(['ask', 'What is 2 + 3?', '--device', 'cuda'], '', env);
  expect([asked.code, asked.stdout]).toEqual([1, '']);
  expect(asked.stderr).toContain('[device-unavailable]');
  expect((await runCli(['ask', 'What is 2 + 3?', '--device', 'cpu'], '', env)).stdout).toBe('5\n');
  const inspected = await runCli(['inspect', 'nvlm-tiny-d', '--device', 'cuda:0'], '', { NVLM_CUDA_LIBRARY: emulator });
  expect(inspected.stdout).toMatch(/^device +cuda:0, \d+ threads$/m);
});

test.each([
  ['an unknown command', ['aks'], 2, 'ask'],
  ['an unknown option', ['ask', 'x', '--modell', 'y'], 2, '--modell'],
  ['no question', ['ask'], 2, 'missing required argument'],
  ['a number that is none', ['ask', 'x', '--seed', 'one'], 2, 'It is not a number'],
  ['a device that is none', ['ask', 'x', '--device', 'gpu'], 2, '[bad-option]'],
  ['a number out of range', ['ask', 'x', '--max-tokens', '0'], 2, '[bad-option]'],
  ['an image where the question belongs', ['ask', receipt], 2, 'The last argument is the question'],
  ['a missing image', ['ask', 'missing.png', 'What?'], 2, '[file-not-found]'],
  ['an unknown model', ['inspect', 'nvlm-tiny-z'], 2, 'Did you mean nvlm-tiny-'],
  ['a file that is no image', ['ask', 'package.json', 'What?'], 1, '[not-an-image]'],
] as const)('%s fails with exit code and message on stderr', async (_, args, expected, named) => {
  const { code, stdout, stderr } = await runCli([...args]);
  expect([code, stdout]).toEqual([expected, '']);
  expect(stderr).toContain(named);
  expect(stderr).not.toContain('    at ');
});

test('Ctrl-C ends an answer with exit code 130 and says nothing', async () => {
  const child = spawn(process.execPath, [
    join(root, 'dist', 'cli', 'main.js'),
    'ask',
    'Hello',
    '-m',
    endless,
    '--max-tokens',
    '1900',
  ]);
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  child.stdout.once('data', () => child.kill('SIGINT'));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  expect([code, signal, stderr]).toEqual([130, null, '']);
});

test('--help has examples and --version the version', async () => {
  for (const args of [
    ['--help'],
    ['ask', '--help'],
    ['tiles', '--help'],
    ['inspect', '--help'],
    ['models', '--help'],
    ['devices', '--help'],
  ]) {
    const { code, stdout } = await runCli(args);
    expect([code, stdout.includes('Examples:')]).toEqual([0, true]);
  }
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  expect((await runCli(['--version'])).stdout).toBe(`${version}\n`);
});

test('a reader that closes the pipe early is no failure', async () => {
  const command = `set -o pipefail; "${process.execPath}" "${join(root, 'dist', 'cli', 'main.js')}" inspect nvlm-tiny-d | head -1`;
  const { stdout, stderr } = await runNode([
    '-e',
    `process.exit(require('child_process').spawnSync('bash', ['-c', ${JSON.stringify(command)}], { stdio: 'inherit' }).status)`,
  ]);
  expect(stdout).toContain('nvlm-tiny-d');
  expect(stderr).toBe('');
});
