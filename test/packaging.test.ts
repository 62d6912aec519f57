// The package as users get it: packed, installed in an empty folder, required, imported, asked; with the prebuild where no compiler is,
// with --ignore-scripts, and from source where there is no prebuild.
import { execFile, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

const root = join(__dirname, '..');
const MiB = 1024 * 1024;
/** Whether this machine has nvcc, so that the CUDA library has to be built beside the addon. */
const hasCuda = process.env['NVLM_CUDA'] !== 'off' && spawnSync('nvcc', ['--version']).status === 0;

interface Packed {
  filename: string;
  unpackedSize: number;
  files: { path: string; size: number }[];
}

let scratch: string;
let packed: Packed;
let tarball: string;
/** A PATH with Node and npm, and nothing that could compile. */
let barePath: string;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'nvlm-packaging-'));
  await run('npm', ['run', '--silent', 'prebuild'], { cwd: root });
  packed = await pack(root, scratch);
  tarball = join(scratch, packed.filename);

  barePath = join(scratch, 'bare-bin');
  await mkdir(barePath);
  for (const command of ['node', 'npm', 'npx', 'sh', 'env', 'uname'])
    await symlink(await which(command), join(barePath, command));
}, 300_000);

afterAll(async () => {
  await rm(scratch, { recursive: true, force: true });
});

describe('the tarball', () => {
  test('holds what the package needs', () => {
    const paths = new Set(packed.files.map(file => file.path));
    const needed = [
      ...[
        'package.json',
        'LICENSE',
        'README.md',
        'THIRD_PARTY.md',
        'CMakeLists.txt',
        'binding.gyp',
        'scripts/build-native.mjs',
      ],
      ...['dist/index.js', 'dist/index.mjs', 'dist/index.d.ts', 'dist/index.d.mts', 'dist/cli/main.js'],
      ...['native/addon/addon.cc', 'native/cpu/CMakeLists.txt', 'native/exports.map'],
      ...[
        'native/cuda/CMakeLists.txt',
        'native/cuda/gpu.cu',
        'native/cuda/kernels/gemm_sm80.cuh',
        'native/cuda/exports.map',
      ],
      ...['d', 'x', 'h'].flatMap(kind =>
        ['README.md', 'config.json', 'model.safetensors', 'tokenizer.json'].map(
          file => `models/nvlm-tiny-${kind}/${file}`,
        ),
      ),
    ];
    expect(needed.filter(file => !paths.has(file))).toEqual([]);
    const prebuild = `prebuilds/${process.platform}-${process.arch}/`;
    const prebuilt = packed.files.filter(file => file.path.startsWith(prebuild)).map(file => file.path);
    expect(prebuilt.toSorted()).toEqual([
      expect.stringMatching(/\.node$/),
      ...(hasCuda ? [`${prebuild}nvlm_cuda.so`] : []),
    ]);
  });

  test('holds no test data, build tree or source map', () => {
    const strangers = packed.files
      .map(file => file.path)
      .filter(path => /^(test|out|build|shared|examples|benchmarks|node_modules)\/|\.(map|o|a|tgz)$/.test(path));
    expect(strangers).toEqual(['native/cuda/exports.map', 'native/exports.map']);
    const most = (path: string): number =>
      path.startsWith('models/') ? Infinity : path.endsWith('/nvlm_cuda.so') ? 12e6 : 2 * MiB;
    expect(packed.files.filter(({ path, size }) => size > most(path))).toEqual([]);
  });

  test('is at most 70 MB installed', () => {
    expect(packed.unpackedSize).toBeLessThanOrEqual(70e6);
  });
});

describe('installed with --ignore-scripts where no compiler is', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await install('bare', ['--ignore-scripts'], tarball, { PATH: barePath });
  }, 180_000);

  test('can be required', async () => {
    const script =
      "const nvlm = require('nvlm'); nvlm.devices().then(found => console.log(JSON.stringify([nvlm.bundledModels(), found.length > 1])))";
    const { stdout } = await run('node', ['-e', script], { cwd: folder, env: { PATH: barePath } });
    expect(JSON.parse(stdout)).toEqual([['nvlm-tiny-d', 'nvlm-tiny-h', 'nvlm-tiny-x'], true]);
    expect(existsSync(join(folder, 'node_modules', 'nvlm', 'build'))).toBe(false);
  });

  test('can be imported, and both ways give the same objects', async () => {
    const script = [
      "import { createRequire } from 'node:module';",
      "import * as esm from 'nvlm';",
      "const cjs = createRequire(process.cwd() + '/')('nvlm');",
      'console.log(JSON.stringify(Object.keys(cjs).map(name => [name, esm[name] === cjs[name]])));',
    ].join('\n');
    const { stdout } = await run('node', ['--input-type=module', '-e', script], {
      cwd: folder,
      env: { PATH: barePath },
    });
    const same = JSON.parse(stdout) as [string, boolean][];
    expect(same.length).toBeGreaterThan(3);
    expect(same.filter(([, equal]) => !equal)).toEqual([]);
  });

  test('answers on the command line', async () => {
    const image = join(root, 'test', 'eval', 'demo', 'receipt.png');
    const { stdout } = await run(
      'npx',
      ['--no-install', 'nvlm', 'ask', '--model', 'nvlm-tiny-d', image, 'What is the total?'],
      {
        cwd: folder,
        env: { PATH: barePath },
      },
    );
    expect(stdout).toBe('$26.14\n');
  });
});

test('installs with scripts where no compiler is, since the prebuild is found', async () => {
  const folder = await install('scripts', ['--foreground-scripts'], tarball, { PATH: barePath });
  expect(await readFile(join(folder, 'npm-install.log'), 'utf8')).toContain('> node-gyp-build');
  expect(existsSync(join(folder, 'node_modules', 'nvlm', 'build'))).toBe(false);
  await run('node', ['-e', "require('nvlm').devices().catch(() => process.exit(1))"], {
    cwd: folder,
    env: { PATH: barePath },
  });
}, 180_000);

test('builds from source where no prebuild is', async () => {
  const source = join(scratch, 'source');
  await mkdir(source);
  await run('tar', ['-xf', tarball, '-C', source]);
  const unpacked = join(source, 'package');
  await rm(join(unpacked, 'prebuilds'), { recursive: true });
  const bare = await pack(unpacked, source);
  // One GPU is enough to see that the CUDA library is built.
  const env = { ...nodeHeaders(), NVLM_CUDA_ARCHS: '80' };
  const folder = await install('from-source', ['--foreground-scripts'], join(source, bare.filename), env);
  const installed = join(folder, 'node_modules', 'nvlm');
  expect((await stat(join(installed, 'build', 'Release', 'nvlm.node'))).size).toBeGreaterThan(0);
  expect(existsSync(join(installed, 'build', 'Release', 'nvlm_cuda.so'))).toBe(hasCuda);
  // The compiler's leftovers would more than double the size.
  expect(existsSync(join(installed, 'out', 'from-source'))).toBe(false);
  const { stdout } = await run('node', ['-e', "require('nvlm').devices().then(found => console.log(found[0].id))"], {
    cwd: folder,
  });
  expect(stdout).toBe('cpu\n');
}, 900_000);

test('the lockfile names no registry host', async () => {
  const lockfile = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { resolved?: string }>;
  };
  expect(Object.values(lockfile.packages).filter(entry => entry.resolved !== undefined)).toEqual([]);
});

async function pack(folder: string, destination: string): Promise<Packed> {
  const { stdout } = await run('npm', ['pack', '--ignore-scripts', '--json', '--pack-destination', destination], {
    cwd: folder,
  });
  const [answer] = JSON.parse(stdout) as Packed[];
  if (answer === undefined) throw new Error(`npm pack said ${stdout}`);
  return answer;
}

/** Installs a tarball in a new empty folder. */
async function install(name: string, flags: string[], file: string, env: NodeJS.ProcessEnv): Promise<string> {
  const folder = join(scratch, name);
  await mkdir(folder);
  await writeFile(join(folder, 'package.json'), '{ "name": "a-user", "version": "1.0.0", "private": true }\n');
  const { stdout, stderr } = await run(
    'npm',
    ['install', '--no-audit', '--no-fund', '--prefer-offline', ...flags, file],
    {
      cwd: folder,
      env,
    },
  );
  await writeFile(join(folder, 'npm-install.log'), stdout + stderr);
  return folder;
}

/** node-gyp downloads Node's headers, unless it is told where they are; where Node came with them, that is beside it. */
function nodeHeaders(): NodeJS.ProcessEnv {
  const prefix = dirname(dirname(process.execPath));
  return existsSync(join(prefix, 'include', 'node', 'node_api.h')) ? { npm_config_nodedir: prefix } : {};
}

async function which(command: string): Promise<string> {
  const folders = (process.env['PATH'] ?? '').split(':');
  const found = folders.map(folder => join(folder, command)).find(file => existsSync(file));
  if (found === undefined) throw new Error(`no ${command} in PATH`);
  return found;
}

function run(
  command: string,
  args: string[],
  options: { cwd?: string; env?: NodeJS.ProcessEnv } = {},
): Promise<{ stdout: string; stderr: string }> {
  // npm scripts hand their npm's settings down; an install of a user's would not see them.
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !/^npm_(config_(?!registry|cache|nodedir|userconfig)|lifecycle|package|command)/.test(name),
    ),
  );
  return new Promise((resolve, reject) => {
    execFile(
      command,
      args,
      { cwd: options.cwd, env: { ...inherited, ...options.env }, maxBuffer: 1 << 28 },
      (error, stdout, stderr) => {
        if (error === null) resolve({ stdout, stderr });
        else reject(new Error(`${command} ${args.join(' ')} failed: ${error.message}\n${stdout}\n${stderr}`));
      },
    );
  });
}
