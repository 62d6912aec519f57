/** Runs programs of their own: what a test process cannot try on itself. */

import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { root } from './models';

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Runs node with arguments; `input` goes to its standard input, `env` is added to the environment. */
export function runNode(
  args: string[],
  input: Uint8Array | string = '',
  env: Record<string, string> = {},
): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, args, { cwd: root, env: { ...process.env, ...env } });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, stdout, stderr }));
    // A program that exits before reading its input closes the pipe; that is its business.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

/** Runs the body of an async function in which `nvlm` is the package. */
export function runProgram(body: string, flags: string[] = [], env: Record<string, string> = {}): Promise<Finished> {
  const program = `const nvlm = require(${JSON.stringify(join(root, 'dist', 'index.js'))});\n(async () => {\n${body}\n})();`;
  return runNode([...flags, '-e', program], '', env);
}

/** Runs the command `nvlm`. */
export function runCli(args: string[], input?: Uint8Array | string, env?: Record<string, string>): Promise<Finished> {
  return runNode([join(root, 'dist', 'cli', 'main.js'), ...args], input, env);
}
