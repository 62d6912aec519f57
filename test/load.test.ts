import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundledModels, type EncodedImage, inspect, load, type LoadProgress, type LogEntry } from 'nvlm';
import { failureOf } from './support/failure';
import { goldenFolder } from './support/golden';
import { bundled, picture } from './support/models';

/** Keeps handles from being collected. */
const held: EncodedImage[] = [];

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvlm-load-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** A copy of a golden checkpoint that a test may spoil. */
function copyOf(name: string): string {
  const copy = join(folder, name);
  cpSync(join(goldenFolder, name), copy, { recursive: true });
  return copy;
}

function editConfig(copy: string, edit: (config: Record<string, unknown>) => void): void {
  const file = join(copy, 'config.json');
  const config = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
  edit(config);
  writeFileSync(file, JSON.stringify(config));
}

test('the bundled models are found by name', () => {
  expect(bundledModels()).toEqual(bundled);
});

test.each([
  ['nvlm-tiny-d', 'NVLM-D', []],
  ['nvlm-tiny-x', 'NVLM-X', [0, 1, 2, 3]],
  ['nvlm-tiny-h', 'NVLM-H', [0, 1, 2, 3]],
] as const)('%s says what it is', async (name, architecture, crossLayers) => {
  await using model = await load(name, { threads: 1 });
  const { info } = model;
  expect(info).toMatchObject({
    name,
    architecture,
    dtype: 'bfloat16',
    tileSize: 112,
    tokensPerTile: 16,
    maxTiles: 6,
    vocabSize: 384,
    threads: 1,
  });
  expect(info.decoder).toMatchObject({ hiddenSize: 256, layers: 4, heads: 4, kvHeads: 2, headDim: 64 });
  expect(info.decoder.crossLayers).toEqual(crossLayers);
  const { total, ...parts } = info.memory;
  expect(total).toBe(parts.weights + parts.kvCache + parts.crossCache + parts.activations + parts.images);
});

test.each(bundled)(
  'the memory of %s in use is what was planned, the images once there are as many as fit',
  async name => {
    await using model = await load(name, { maxImages: 3 });
    const { free: _, ...planned } = model.info.memory;
    await model.generate({ messages: [{ role: 'user', content: 'What is 2 + 3?' }] });
    expect(model.stats().memory).toEqual({ ...planned, images: 0, total: planned.total - planned.images });
    for (let i = 0; i < 3; i++) await model.encodeImage(picture).then(image => held.push(image));
    expect(model.stats().memory).toEqual(planned);
  },
);

test('inspect plans the same without loading, and lists the decoder program', async () => {
  const { program, memory, ...rest } = await inspect('nvlm-tiny-x', { contextLength: 512 });
  await using model = await load('nvlm-tiny-x', { contextLength: 512 });
  const { memory: loaded, ...info } = model.info;
  expect(rest).toEqual(info);
  expect({ ...memory, free: 0 }).toEqual({ ...loaded, free: 0 });
  expect(program.length).toBeGreaterThan(20);
  expect(program.join('\n')).toContain('attention');
});

test('options shape the model: tiles, context, sequences and images', async () => {
  await using model = await load('nvlm-tiny-d', { maxTiles: 12, contextLength: 512, maxSequences: 3, maxImages: 2 });
  expect(model.info).toMatchObject({ maxTiles: 12, contextLength: 512, maxSequences: 3, maxImages: 2 });
});

test('onLog hears that tags above 6 were never trained', async () => {
  const heard: LogEntry[] = [];
  const onLog = (entry: LogEntry): number => heard.push(entry);
  await (await load('nvlm-tiny-d', { device: 'cpu', maxTiles: 6, onLog })).close();
  expect(heard).toEqual([]);
  await (await load('nvlm-tiny-d', { device: 'cpu', maxTiles: 12, onLog })).close();
  expect(heard).toEqual([{ level: 'warn', message: expect.stringContaining('<tile_6>') as string }]);
});

test('progress runs up to the size of the weights', async () => {
  const seen: LoadProgress[] = [];
  await using _ = await load('nvlm-tiny-d', { onProgress: progress => seen.push(progress) });
  expect(seen.length).toBeGreaterThan(0);
  expect(seen.map(({ loaded }) => loaded)).toEqual(seen.map(({ loaded }) => loaded).toSorted((a, b) => a - b));
  expect(seen.at(-1)?.loaded).toBe(seen.at(-1)?.total);
});

test('a sharded checkpoint and one with vocab.json load like any other', async () => {
  await using sharded = await load(join(goldenFolder, 'h-head128-sharded'));
  await using merges = await load(join(goldenFolder, 'h-vocab-merges'));
  expect(sharded.info.architecture).toBe('NVLM-H');
  expect(merges.info.architecture).toBe('NVLM-H');
});

test("the licence comes from the card's front matter, or a licence file, or is null", async () => {
  const copy = copyOf('d-one-tile');
  expect((await inspect(copy)).license).toBeNull();
  writeFileSync(join(copy, 'LICENSE'), '\n# Example Licence 2.0\n\nText.\n');
  expect((await inspect(copy)).license).toBe('Example Licence 2.0');
  writeFileSync(join(copy, 'README.md'), '---\ntags:\n- x\nlicense: cc-by-nc-4.0\n---\n# Model\n');
  expect((await inspect(copy)).license).toBe('cc-by-nc-4.0');
});

describe('what cannot be loaded is refused with a code that says why', () => {
  test('an unknown name, naming the nearest', async () => {
    const error = await failureOf(() => load('nvlm-tiny-dd'));
    expect(error.code).toBe('unknown-model');
    expect(error.message).toContain('Did you mean nvlm-tiny-d?');
  });

  test('a folder that is no checkpoint', async () => {
    expect((await failureOf(() => load(folder))).code).toBe('not-a-checkpoint');
  });

  test('a folder without weights', async () => {
    const copy = copyOf('d-one-tile');
    rmSync(join(copy, 'model.safetensors'));
    expect((await failureOf(() => load(copy))).code).toBe('not-a-checkpoint');
  });

  test('a truncated file of weights, by name', async () => {
    const copy = copyOf('d-one-tile');
    truncateSync(join(copy, 'model.safetensors'), 100_000);
    const error = await failureOf(() => load(copy));
    expect(error.code).toBe('corrupt-checkpoint');
    expect(error.message).toContain('model.safetensors');
  });

  test('a config that is no JSON', async () => {
    const copy = copyOf('d-one-tile');
    writeFileSync(join(copy, 'config.json'), '{');
    const error = await failureOf(() => load(copy));
    expect(error.code).toBe('corrupt-checkpoint');
    expect(error.message).toContain('config.json');
  });

  test('another architecture', async () => {
    const copy = copyOf('d-one-tile');
    editConfig(copy, config => {
      config['architectures'] = ['LlavaForConditionalGeneration'];
    });
    const error = await failureOf(() => load(copy));
    expect(error.code).toBe('unsupported-architecture');
    expect(error.message).toContain('LlavaForConditionalGeneration');
  });

  test('an unsupported value, with its key', async () => {
    const copy = copyOf('d-one-tile');
    editConfig(copy, config => {
      config['ps_version'] = 'v3';
    });
    const error = await failureOf(() => load(copy));
    expect(error.code).toBe('unsupported-config');
    expect(error.message).toContain('ps_version');
  });

  test('a generation_config.json out of range, with its key', async () => {
    const copy = copyOf('d-one-tile');
    writeFileSync(join(copy, 'generation_config.json'), '{"do_sample": true, "top_p": 1.5}');
    const error = await failureOf(() => load(copy));
    expect(error.code).toBe('unsupported-config');
    expect(error.message).toContain('top_p');
  });

  test('a model that needs more memory than there is, before reading weights', async () => {
    const copy = copyOf('d-one-tile');
    editConfig(copy, config => {
      (config['llm_config'] as Record<string, unknown>)['max_position_embeddings'] = 2 ** 20;
    });
    const error = await failureOf(() => load(copy, { maxSequences: 64, contextLength: 2 ** 20 }));
    expect(error.code).toBe('out-of-memory');
    expect(error.message).toMatch(
      / MB are free\. Load it with contextLength: \d+( or maxSequences: \d+)?, or free memory\.$/,
    );
  });

  test.each([
    ['a misspelt option', { thread: 1 }, 'bad-option', 'Did you mean threads?'],
    ['no threads', { threads: 0 }, 'bad-option', 'options.threads'],
    ['half a thread', { threads: 1.5 }, 'bad-option', 'between 1 and 1024'],
    ['13 tiles', { maxTiles: 13 }, 'bad-option', 'between 1 and 12'],
    ['a short context', { contextLength: 8 }, 'bad-option', 'options.contextLength'],
    ['NaN images', { maxImages: Number.NaN }, 'bad-option', 'options.maxImages'],
    ['no pixels', { maxPixels: 0 }, 'bad-option', 'options.maxPixels'],
    ['a device that is no text', { device: 1 }, 'bad-option', 'options.device'],
    ['a device that is none', { device: 'tpu' }, 'bad-option', '"tpu"'],
    ['a GPU without its number', { device: 'cuda:' }, 'bad-option', '"cuda:"'],
    ['a device of the tests alone', { device: 'emulator' }, 'bad-option', '"emulator"'],
    ['onProgress that is no function', { onProgress: true }, 'bad-option', 'options.onProgress'],
    ['onLog that is no function', { onLog: 'x' }, 'bad-option', 'options.onLog'],
    ['a signal that is none', { signal: {} }, 'bad-option', 'options.signal'],
  ] as const)('%s', async (_, options, code, named) => {
    const error = await failureOf(() => load('nvlm-tiny-d', options as never));
    expect(error.code).toBe(code);
    expect(error.message).toContain(named);
  });

  test('options that are no object', async () => {
    expect((await failureOf(() => load('nvlm-tiny-d', 5 as never))).code).toBe('bad-option');
    expect((await failureOf(() => load(5 as never))).code).toBe('bad-option');
  });
});

test('an aborted load rejects with the reason as cause', async () => {
  const reason = new Error('enough');
  const before = await failureOf(() => load('nvlm-tiny-d', { signal: AbortSignal.abort(reason) }));
  expect([before.code, before.cause]).toEqual(['aborted', reason]);
  const controller = new AbortController();
  const during = failureOf(() =>
    load('nvlm-tiny-d', { signal: controller.signal, onProgress: () => controller.abort(reason) }),
  );
  expect([(await during).code, (await during).cause]).toEqual(['aborted', reason]);
});
