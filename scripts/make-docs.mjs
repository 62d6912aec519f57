// Writes docs/errors.md from the table in lib/errors.ts (as built in dist/). `--check` only says whether the file is up to date.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const { errorTable } = createRequire(import.meta.url)('../dist/errors.js');
const file = fileURLToPath(new URL('../docs/errors.md', import.meta.url));

const rows = Object.entries(errorTable).map(
  ([code, { description, mend }]) => `| \`${code}\` | ${description} | ${mend} |`,
);
const text = `# Which errors can I get?

Every failure is an \`NvlmError\` with a \`code\` from this table; match the code, or test with \`NvlmError.is(error)\`, rather than with
\`instanceof\`, which fails across copies of the package and realms. \`error.message\` names the thing, the limit and the mend; \`error.cause\` is kept.

| code | when | what to do |
| --- | --- | --- |
${rows.join('\n')}

This page is generated from \`lib/errors.ts\` by \`npm run docs\`.
`;

if (process.argv.includes('--check')) {
  if (readFileSync(file, 'utf8') !== text) {
    console.error('docs/errors.md is out of date: run `npm run docs`.');
    process.exit(1);
  }
} else {
  writeFileSync(file, text);
}
