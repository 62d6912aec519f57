/** Runs scripts/gpu-check.sh, each time with a folder of its own for its results. */

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { root } from './models';

export const tree = process.env['GPU_CHECK_TREE'] ?? path.join(root, 'out', 'release');

/** A Python with PyTorch: python3, or Debian's own. */
export const torch = ['python3', '/usr/bin/python3'].find(
  python => spawnSync(python, ['-c', 'import torch']).status === 0,
);

export const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nvlm-gpu-check-'));
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

/** Writes a shell program. */
export function writeProgram(file: string, body: string): void {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, `#!/bin/bash\n${body}\n`, { mode: 0o755 });
}

export interface Result {
  status: number | null;
  output: string;
  /** Their states by their names, in the order in which they ran. */
  stages: Record<string, string>;
}

/** Results are in the folder of this name; the emulator stands in for the GPU unless `env` says otherwise. */
export function gpuCheck(name: string, env: Record<string, string> = {}): Result {
  const done = spawnSync('bash', [path.join(root, 'scripts', 'gpu-check.sh'), path.join(folder, name)], {
    encoding: 'utf8',
    env: {
      ...process.env,
      GPU_CHECK_EMULATOR: '1',
      GPU_CHECK_SECONDS: '1500',
      GPU_CHECK_TREE: tree,
      GPU_CHECK_PYTHON: torch ?? 'python3',
      ...env,
    },
  });
  const table = path.join(folder, name, 'stages.tsv');
  const rows = (fs.existsSync(table) ? fs.readFileSync(table, 'utf8') : '')
    .trim()
    .split('\n')
    .slice(1)
    .map(line => line.split('\t'));
  return {
    status: done.status,
    output: done.stdout + done.stderr,
    stages: Object.fromEntries(rows.map(([, stage, state]) => [stage, state])),
  };
}
