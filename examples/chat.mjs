// Several turns about one image. The image is encoded once; every turn only reads text. Of the bundled models, which were trained on single
// questions, NVLM-X keeps its head best when there is more than one.
//   node examples/chat.mjs test/eval/demo/receipt.png "What is the total?" "How much is the tea?" …
import { load } from 'nvlm';

const [path, ...questions] = process.argv.slice(2);

const model = await load('nvlm-tiny-x');
const image = await model.encodeImage(path);

const messages = [];
for (const question of questions) {
  const text = { type: 'text', text: question };
  // The image stands in the first turn, and the model sees it in all that follow.
  messages.push({ role: 'user', content: messages.length === 0 ? [{ type: 'image', image }, text] : [text] });
  const answer = await model.generate({ messages });
  messages.push({ role: 'assistant', content: answer.text });
  console.log(`> ${question}\n${answer.text}`);
}
console.log(`${model.stats().encodedTiles} tiles encoded in ${questions.length} turns`);

// The image's memory goes with the handle; a server would release it when the chat is over.
image.release();
await model.close();
