// Formats the C++ and CUDA sources in place, by .clang-format.
//   node scripts/format-native.mjs [--check]   --check changes nothing and fails where something would change
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { inRoot, root } from './paths.mjs';

const folders = ['native', path.join('test', 'native'), 'benchmarks'];
const files = folders.flatMap(folder =>
  fs
    .readdirSync(inRoot(folder), { recursive: true })
    .filter(file => /\.(h|cc|cu|cuh)$/.test(file) && !file.startsWith('third_party'))
    .map(file => path.join(folder, file)),
);

const { getNativeBinary } = createRequire(import.meta.url)('clang-format');
const mode = process.argv.includes('--check') ? ['--dry-run', '--Werror', '--ferror-limit=1'] : ['-i'];
const { status, error } = spawnSync(getNativeBinary(), [...mode, ...files], { cwd: root, stdio: 'inherit' });
if (error) console.error(`format: clang-format could not be started (${error.message}); run npm ci.`);
if (status !== 0) process.exitCode = 1;
