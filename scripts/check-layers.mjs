// Holds every import of lib/ and every include of native/ to the arrows that docs/architecture.md draws: none to another folder, and no
// circle of files.
//   node scripts/check-layers.mjs [ROOT]
import fs from 'node:fs';
import path from 'node:path';
import { inRoot, root } from './paths.mjs';

/** Libraries that belong to one folder, by how their headers begin. */
const libraries = {
  '<napi>': /^(napi|node_api)/,
  '<nlohmann>': /^nlohmann\//,
  '<cuda>': /^(cuda|cooperative_groups|nvml)/,
};

/** What stands in some files of lib/ only. */
const reserved = [
  {
    text: /['"]NVLM-[A-Z]['"]/g,
    files: ['types/output', 'prompt/families'],
    fix: 'A family is a row of lib/prompt/families.ts: give it a field, and ask for that.',
  },
];

const trees = [
  { folder: 'lib', files: /\.ts$/, verb: 'import', edges: importsOf },
  { folder: 'native', files: /\.(h|cc|cu|cuh)$/, verb: 'include', edges: includesOf },
];

const top = path.resolve(process.argv[2] ?? root);
const findings = trees.flatMap(check);
for (const finding of findings) console.error(`layers: ${finding}`);
if (findings.length > 0) process.exit(1);
console.log('layers: ok');

function check({ folder, files, verb, edges }) {
  const table = arrows(folder);
  const found = circles(table).map(
    circle => `docs/architecture.md allows ${folder}/ a circle: ${circle.join(' -> ')}. Take one of its arrows out.`,
  );
  const graph = {};
  for (const file of sources(folder, files)) {
    const from = layerOf(file);
    if (!table[from]) {
      found.push(
        `${folder}/${file}: ${from} has no line below "${folder}/ may ${verb}" in docs/architecture.md. Add one.`,
      );
      continue;
    }
    const text = fs.readFileSync(path.join(top, folder, file), 'utf8');
    if (folder === 'lib') found.push(...misplaced(file, text));
    graph[file] = [];
    for (const { target, at } of edges(file, text)) {
      if (!graph[file].includes(target)) graph[file].push(target);
      const to = layerOf(target);
      if (to === from || table[from].some(allowed => allowed === to || allowed === stem(target))) continue;
      found.push(
        `${folder}/${file}:${lineOf(text, at)} ${verb}s ${target}, but ${from} may ${verb} only ${table[from].join(', ') || 'itself'}. ` +
          `Move what it needs down to one of these, or let its caller hand it in.`,
      );
    }
  }
  for (const circle of circles(graph)) {
    found.push(
      `${folder}/: the files ${circle.join(' -> ')} form a circle. Move what they share to a file that ${verb}s none of them.`,
    );
  }
  return found;
}

/** Folder, or file at the top of the tree -> what it may look at beside itself: folders, single files without their ending, libraries. */
function arrows(folder) {
  const page = fs.readFileSync(inRoot('docs', 'architecture.md'), 'utf8');
  const drawn = new RegExp(`^\\x60\\x60\\x60\\n${folder}/ may \\w+\\n([^\\x60]*)`, 'm').exec(page)?.[1];
  if (!drawn) throw new Error(`docs/architecture.md has no block that begins with "${folder}/ may".`);
  return Object.fromEntries(
    [...drawn.matchAll(/^(\w+) +->(.*)$/gm)].map(([, from, to]) => [from, to.split(' ').filter(Boolean)]),
  );
}

function misplaced(file, text) {
  return reserved
    .filter(({ files }) => !files.includes(stem(file)))
    .flatMap(({ text: pattern, fix }) =>
      Array.from(text.matchAll(pattern), match => `lib/${file}:${lineOf(text, match.index)} names ${match[0]}. ${fix}`),
    );
}

function lineOf(text, at) {
  return text.slice(0, at).split('\n').length;
}

function sources(folder, files) {
  const whole = path.join(top, folder);
  return fs
    .readdirSync(whole, { recursive: true })
    .map(file => file.replaceAll('\\', '/'))
    .filter(file => files.test(file) && !file.startsWith('third_party/'))
    .toSorted((a, b) => a.localeCompare(b));
}

/** Relative imports, exports from and requires, those of types too. Packages are not looked at. */
function importsOf(file, text) {
  return Array.from(text.matchAll(/\b(?:from|import|require)\b[\s(]*['"](\.[^'"]+)['"]/g), match => ({
    target: path.posix.join(path.posix.dirname(file), match[1]).replace(/\.js$/, '.ts'),
    at: match.index,
  }));
}

/** Quoted includes, which all start at native/, and those of the libraries above. */
function includesOf(file, text) {
  return Array.from(text.matchAll(/^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]/gm), match => ({
    target: match[1] === '"' ? match[2] : Object.keys(libraries).find(library => libraries[library].test(match[2])),
    at: match.index,
  })).filter(({ target }) => target !== undefined);
}

function layerOf(file) {
  return stem(file.split('/')[0]);
}

function stem(file) {
  return file.replace(/\.[a-z]+$/, '');
}

/** Each circle of a graph once, from its first node around to that node again. */
function circles(graph) {
  const found = [];
  const state = {};
  const visit = (node, trail) => {
    if (state[node] === 'done' || !graph[node]) return;
    if (state[node] === 'open') {
      found.push([...trail.slice(trail.indexOf(node)), node]);
      return;
    }
    state[node] = 'open';
    for (const next of graph[node]) visit(next, [...trail, node]);
    state[node] = 'done';
  };
  for (const node of Object.keys(graph)) visit(node, []);
  return found;
}
