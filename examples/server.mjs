// An HTTP server that streams answers as server-sent events. The body is the image, the question stands in the URL.
//   PORT=3000 node examples/server.mjs
//   curl -N --data-binary @test/eval/demo/receipt.png 'http://localhost:3000/ask?question=What+is+the+total%3F'
import { createServer } from 'node:http';
import { load, NvlmError } from 'nvlm';

const LARGEST_BODY = 20e6;

// One model serves all requests: two run at once, more wait their turn.
const model = await load('nvlm-tiny-d', { maxSequences: 2 });

const server = createServer((request, response) => {
  answer(request, response).catch(error => {
    console.error(error);
    response.destroy();
  });
});

async function answer(request, response) {
  const url = new URL(request.url, 'http://localhost');
  if (request.method !== 'POST' || url.pathname !== '/ask')
    return response.writeHead(404).end('POST /ask?question=…\n');
  const body = await readBody(request);
  if (body === undefined)
    return response.writeHead(413, { connection: 'close' }).end(`At most ${LARGEST_BODY} bytes.\n`);

  // Who hangs up stops the work.
  const hangUp = new AbortController();
  response.on('close', () => hangUp.abort());

  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  const send = (type, data) => response.write(`event: ${type}\ndata: ${JSON.stringify(data)}\n\n`);
  try {
    // Only bytes are taken: a path from outside would let anyone read this machine's files.
    const content = [
      { type: 'image', image: body },
      { type: 'text', text: url.searchParams.get('question') ?? 'Describe the image.' },
    ];
    for await (const part of model.stream({ messages: [{ role: 'user', content }], signal: hangUp.signal })) {
      if (part.type === 'text') send('text', part.text);
      else send('finish', part.result.usage);
    }
  } catch (error) {
    if (!NvlmError.is(error)) throw error;
    if (error.code !== 'aborted') send('error', { code: error.code, message: error.message });
  }
  return response.end();
}

/** The whole body, or undefined if it is too large. */
async function readBody(request) {
  const chunks = [];
  let length = 0;
  // Leaving the loop must not end the connection: the refusal is still to be sent.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    length += chunk.length;
    if (length > LARGEST_BODY) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

// Only this machine can reach it; put a real server in front before others may.
server.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () =>
  console.log(`listening on http://localhost:${server.address().port}`),
);

process.once('SIGTERM', () => {
  server.close();
  void model.close();
});
