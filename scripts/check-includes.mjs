// Holds the includes of native/ to the arrows that docs/architecture.md draws: none to another folder, and no circle of files.
//   node scripts/check-includes.mjs [FOLDER]   default: native
import fs from 'node:fs';
import path from 'node:path';
import { inRoot } from './paths.mjs';

const folder = path.resolve(process.argv[2] ?? inRoot('native'));

/** Folder -> what its files may include: folders, or single files without their ending. */
const allowed = new Map(
  [...fs.readFileSync(inRoot('docs', 'architecture.md'), 'utf8').matchAll(/^(\w+) +->(.*)$/gm)].map(([, from, to]) => [
    from,
    to.split(' ').filter(Boolean),
  ]),
);
/** File -> the files of native/ that it includes. */
const includes = new Map(
  fs
    .readdirSync(folder, { recursive: true })
    .map(file => file.replaceAll('\\', '/'))
    .filter(file => /\.(h|cc|cu|cuh)$/.test(file) && !file.startsWith('third_party/'))
    .map(file => [
      file,
      [...fs.readFileSync(path.join(folder, file), 'utf8').matchAll(/^#include "(.+)"/gm)].map(([, name]) => name),
    ]),
);

const findings = [...includes].flatMap(([file, names]) => names.flatMap(name => wrong(file, name)));
for (const circle of circles()) findings.push(`${circle.join(' -> ')}: a circle`);
for (const finding of findings) console.log(`native/${finding}`);
console.log(
  `includes: ${includes.size} files of ${allowed.size} folders, ${findings.length === 0 ? 'ok' : `${findings.length} wrong`}`,
);
if (findings.length > 0 || includes.size === 0) process.exitCode = 1;

/** What is wrong with one include: at most one sentence. */
function wrong(file, name) {
  const [from, to] = [file.split('/')[0], name.split('/')[0]];
  if (!allowed.has(from)) return [`${file}: docs/architecture.md has no line for ${from}/`];
  if (allowed.get(from).some(arrow => arrow === to || arrow === name.replace(/\.\w+$/, ''))) return [];
  if (from === to && includes.has(name)) return [];
  return [`${file} includes ${name}, but docs/architecture.md draws no arrow from ${from}/ to it`];
}

/** Each circle of files once, found by walking down the includes. */
function circles() {
  const found = [];
  const done = new Set();
  const walk = (file, above) => {
    if (above.includes(file)) found.push([...above.slice(above.indexOf(file)), file]);
    if (above.includes(file) || done.has(file)) return;
    for (const name of includes.get(file) ?? []) walk(name, [...above, file]);
    done.add(file);
  };
  for (const file of includes.keys()) walk(file, []);
  return found;
}
