import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { load } from 'nvlm';
import { ask, bundled, evalFolder } from './support/models';

interface Case {
  file: string;
  question: string;
  answer: string;
}

const cases = readFileSync(join(evalFolder, 'cases.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map(line => JSON.parse(line) as Case);

const results = JSON.parse(readFileSync(join(evalFolder, 'results.json'), 'utf8')) as Record<
  string,
  { accuracy: number; said: Record<string, string> }
>;

test.each(bundled)(
  '%s says what the reference said in at least 58 of 60 cases, and is right at most 2 cases less',
  async name => {
    await using model = await load(name);
    const reference = results[name] ?? { accuracy: 1, said: {} };
    const differences: string[] = [];
    let right = 0;
    for (const { file, question, answer } of cases) {
      const { text } = await model.generate({ messages: ask(join(evalFolder, file), question) });
      if (text !== reference.said[file])
        differences.push(`${file}: said ${text}, the reference ${reference.said[file]}`);
      if (text === answer) right++;
    }
    expect(cases).toHaveLength(60);
    if (differences.length > 2) expect(differences).toEqual([]);
    expect(right).toBeGreaterThanOrEqual(Math.round(reference.accuracy * 60) - 2);
  },
);

const demo = readFileSync(join(evalFolder, 'demo', 'cases.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map(line => JSON.parse(line) as Case & { said: Record<string, string> });

test.each(bundled)("%s answers the demo's questions as its case file says", async name => {
  await using model = await load(name);
  for (const { file, question, said } of demo) {
    const { text } = await model.generate({ messages: ask(join(evalFolder, 'demo', file), question) });
    expect([file, question, text]).toEqual([file, question, said[name]]);
  }
});
