import { type Device, devices, inspect, load, type LogEntry } from 'nvlm';
import { failureOf } from './support/failure';
import { emulator } from './support/models';
import { runProgram } from './support/run';

const libraryBefore = process.env['NVLM_CUDA_LIBRARY'];
afterEach(() => {
  if (libraryBefore === undefined) delete process.env['NVLM_CUDA_LIBRARY'];
  else process.env['NVLM_CUDA_LIBRARY'] = libraryBefore;
});

describe('devices', () => {
  test('lists the CPU first, and says of GPUs that they can be used or why not', async () => {
    const [cpu, ...gpus] = await devices();
    expect(cpu).toEqual({
      id: 'cpu',
      name: 'CPU',
      available: true,
      reason: null,
      memoryFree: expect.any(Number),
      memoryTotal: expect.any(Number),
      computeCapability: null,
      driver: null,
      instructionSet: expect.stringMatching(/^(generic|avx2)$/),
      threads: expect.any(Number),
    });
    expect(cpu?.threads).toBeGreaterThan(0);
    expect(cpu?.memoryFree).toBeGreaterThan(0);
    expect(cpu?.memoryTotal).toBeGreaterThanOrEqual(cpu?.memoryFree ?? 0);
    expect(gpus.length).toBeGreaterThan(0);
    for (const { available, reason } of gpus)
      expect([available, reason]).toEqual(available ? [true, null] : [false, expect.any(String)]);
  });

  test('describes a GPU', async () => {
    process.env['NVLM_CUDA_LIBRARY'] = emulator;
    const [, gpu] = await devices();
    expect(gpu).toEqual({
      id: 'cuda:0',
      name: expect.any(String),
      available: true,
      reason: null,
      memoryFree: expect.any(Number),
      memoryTotal: 768 * 2 ** 20,
      computeCapability: '8.0',
      driver: '13.0',
      instructionSet: null,
      threads: 0,
    });
  });

  test.each([
    ['there is no library', '', 'no CUDA library for this platform'],
    ['the library is missing', '/nowhere/nvlm_cuda.so', '/nowhere/nvlm_cuda.so could not be opened'],
    ['the library is another', 'libm.so.6', 'libm.so.6 has no interface'],
  ])('says why and what to do where %s', async (_, library, reason) => {
    process.env['NVLM_CUDA_LIBRARY'] = library;
    const [, gpu, ...others] = await devices();
    const expected: Partial<Device> = {
      id: 'cuda',
      name: null,
      available: false,
      memoryTotal: 0,
      computeCapability: null,
      driver: null,
    };
    expect([gpu, others]).toEqual([expect.objectContaining(expected), []]);
    expect(gpu?.reason).toContain(reason);
    expect(gpu?.reason).toMatch(/device: 'cpu'\.$/);
  });

  test('gives each caller objects of its own', async () => {
    const [first, second] = await Promise.all([devices(), devices()]);
    expect(first[0]).not.toBe(second[0]);
  });
});

describe('the option device', () => {
  test('auto without a GPU takes the CPU and says so once', async () => {
    process.env['NVLM_CUDA_LIBRARY'] = '';
    const heard: LogEntry[] = [];
    const onLog = (entry: LogEntry): number => heard.push(entry);
    await using model = await load('nvlm-tiny-d', { onLog });
    expect(model.info.device).toBe('cpu');
    expect(heard).toEqual([
      { level: 'info', message: expect.stringMatching(/^The model runs on the CPU\. .*no CUDA library/) },
    ]);
    await (await load('nvlm-tiny-d', { device: 'cpu', onLog })).close();
    expect(heard).toHaveLength(1);
  });

  test('auto takes a GPU and says nothing', async () => {
    process.env['NVLM_CUDA_LIBRARY'] = emulator;
    const heard: LogEntry[] = [];
    await using model = await load('nvlm-tiny-d', { onLog: entry => heard.push(entry) });
    expect([model.info.device, model.info.instructionSet, heard]).toEqual(['cuda:0', null, []]);
    expect(model.info.threads).toBeGreaterThan(0);
    expect((await inspect('nvlm-tiny-d')).device).toBe('cuda:0');
    expect((await inspect('nvlm-tiny-d', { device: 'cpu' })).device).toBe('cpu');
  });

  test('a GPU that refuses the first kernel is none: auto takes the CPU, others are told', async () => {
    const { code, stdout, stderr } = await runProgram(
      `const model = await nvlm.load('nvlm-tiny-d', { onLog: entry => console.log(entry.level, entry.message) });
      console.log(model.info.device);
      await model.close();
      await nvlm.load('nvlm-tiny-d', { device: 'cuda' }).catch(({ code, message }) => console.log(code, message));`,
      [],
      { NVLM_CUDA_LIBRARY: emulator, NVLM_EMULATOR_KERNELS: '0' },
    );
    expect([code, stderr]).toEqual([0, '']);
    const reason =
      "Emulator can't run the kernels of this package (no kernel image is available for execution on the device). ";
    const fix = "Install a newer driver, build the package from source with NVLM_CUDA_ARCHS=80, or use device: 'cpu'.";
    expect(stdout.trim().split('\n')).toEqual([
      `info The model runs on the CPU. ${reason}${fix}`,
      'cpu',
      `device-unavailable ${reason}${fix}`,
    ]);
  });

  test.each([
    ['', 'cuda', 'no CUDA library for this platform'],
    [emulator, 'cuda:1', 'There is no GPU 1'],
  ] as const)('a GPU that is not there is an error with the reason (%s, %s)', async (library, device, reason) => {
    process.env['NVLM_CUDA_LIBRARY'] = library;
    for (const attempt of [() => load('nvlm-tiny-d', { device }), () => inspect('nvlm-tiny-d', { device })]) {
      const { code, message } = await failureOf(attempt);
      expect(code).toBe('device-unavailable');
      expect(message).toContain(reason);
    }
  });
});
