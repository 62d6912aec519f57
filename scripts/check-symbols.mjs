// The symbol gate: what the addon and the CUDA library ask of a machine, and what they show it. Linux only; needs binutils.
//   node scripts/check-symbols.mjs [FILE …]   default: what was built, and every Linux prebuild
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { addonFile, cudaFile, inRoot } from './paths.mjs';

const require = createRequire(import.meta.url);

/** Newest symbol versions allowed: those of Ubuntu 22.04 and RHEL 9. */
const newest = { GLIBC: [2, 34], GLIBCXX: [3, 4, 29], CXXABI: [1, 3, 13], GCC: [12, 0, 0] };
/** What may leave each; the first must. */
const entryPoints = {
  addon: ['napi_register_module_v1', 'node_api_module_get_api_version_v1'],
  cuda: ['nvlm_cuda_backend'],
};
/** All that may be linked. For a GPU nothing but its driver is needed, which is opened when it is used. */
const libraries = [
  'libstdc++.so.6',
  'libm.so.6',
  'libgcc_s.so.1',
  'libc.so.6',
  'libpthread.so.0',
  'libdl.so.2',
  'ld-linux-x86-64.so.2',
  'ld-linux-aarch64.so.1',
];
/** Electron refuses memory it did not allocate itself. */
const refused = [
  'napi_create_external_buffer',
  'napi_create_external_arraybuffer',
  'node_api_create_buffer_from_arraybuffer',
];

const headers = require('node-api-headers');
const nodeApi = new Set([...headers.symbols.v8.js_native_api_symbols, ...headers.symbols.v8.node_api_symbols]);

const prebuilds = fs.existsSync(inRoot('prebuilds'))
  ? fs.readdirSync(inRoot('prebuilds'), { recursive: true }).filter(file => /^linux-.*\.(node|so)$/.test(file))
  : [];
const built = [addonFile, ...(fs.existsSync(cudaFile) ? [cudaFile] : [])];
const files =
  process.argv.length > 2 ? process.argv.slice(2) : [...built, ...prebuilds.map(file => inRoot('prebuilds', file))];

let findings = 0;
for (const file of files) {
  const found = check(file);
  findings += found.length;
  console.log(`${path.relative(process.cwd(), file)}: ${found.length === 0 ? 'ok' : ''}`.trimEnd());
  for (const finding of found) console.log(`  ${finding}`);
}
if (findings > 0) process.exitCode = 1;

/** What is wrong with one file, a sentence each. */
function check(file) {
  const found = [];
  const kind = file.endsWith('.node') ? 'addon' : 'cuda';
  const symbols = nm('--dynamic', file);
  for (const { type, name } of symbols) {
    const [plain, version] = name.split(/@+/);
    if (type !== 'U' && type !== 'w' && type !== 'v') {
      if (!entryPoints[kind].includes(plain))
        found.push(`exports ${plain}; only ${entryPoints[kind].join(' and ')} may leave it`);
      continue;
    }
    if (version) {
      const [family, number] = version.split('_');
      const limit = newest[family];
      if (!limit) found.push(`needs ${name}, a symbol version nobody has allowed`);
      else if (isNewer(number.split('.').map(Number), limit))
        found.push(`needs ${name}; at most ${family}_${limit.join('.')} is allowed`);
    } else if (refused.includes(plain)) {
      found.push(`imports ${plain}, which Electron refuses`);
    } else if (type === 'U' && !(kind === 'addon' && nodeApi.has(plain))) {
      found.push(
        `imports ${plain}, which is ${kind === 'addon' ? 'not a Node-API 8 function' : 'in no library that it may link'}`,
      );
    }
  }
  const [entry] = entryPoints[kind];
  if (!symbols.some(({ type, name }) => type === 'T' && name.split('@')[0] === entry))
    found.push(`does not export ${entry}`);
  const needed = [...run('readelf', '--dynamic', '--wide', file).matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(
    match => match[1],
  );
  for (const library of needed) if (!libraries.includes(library)) found.push(`links ${library}`);
  return found;
}

function nm(...args) {
  return run('nm', ...args)
    .split('\n')
    .filter(Boolean)
    .map(line => line.trim().split(/\s+/))
    .map(parts => ({ type: parts.at(-2), name: parts.at(-1) }));
}

function isNewer(version, limit) {
  for (let i = 0; i < Math.max(version.length, limit.length); i += 1) {
    const difference = (version[i] ?? 0) - (limit[i] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return false;
}

function run(command, ...args) {
  return execFileSync(command, args, { encoding: 'utf8', maxBuffer: 1 << 28 });
}
