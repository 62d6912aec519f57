/**
 * One engine as the rest of the library sees it: promises and sinks instead of ids and events. It holds the event loop only while work
 * runs, and knows nothing of models, so that a forgotten Model can be collected and close it.
 */

import { abortedError, closedError, fromNative, type NvlmError } from '../errors.js';
import type { LoadProgress, LogEntry } from '../types/input.js';
import { addon, isFailure } from './native.js';
import type {
  NativeDescription,
  NativeEngine,
  NativeEvent,
  NativeImage,
  NativeLoadOptions,
  NativeRequest,
} from './native-types.js';

/** Events of one running request. */
export type RequestEvent = Extract<NativeEvent, { type: 'text' | 'finish' | 'encoded' }>;

/** Where the events of a request go. After `onError`, or an event of type `finish` or `encoded`, nothing more comes. */
export interface RequestSink {
  onEvent(event: RequestEvent): void;
  onError(error: NvlmError): void;
}

/** Where the events of an engine go that belong to no request. */
export interface EngineListeners {
  onProgress?: ((progress: LoadProgress) => void) | undefined;
  onLog?: ((entry: LogEntry) => void) | undefined;
}

/** A started engine. */
export class EngineClient {
  readonly #engine: NativeEngine;
  readonly #listeners: EngineListeners;
  readonly #sinks = new Map<number, RequestSink>();
  /** Pixels of a request must outlive it until the engine has cut them. */
  readonly #pinned = new Map<number, NativeImage[]>();
  readonly #ended: Promise<void>;
  #resolveEnded: () => void = () => {};
  #loading: { resolve: (description: NativeDescription) => void; reject: (error: NvlmError) => void } | undefined;
  #holds = 0;
  #closing = false;
  #onIdle = (): void => {};
  /** Set by the last event; the engine must not be touched any more. */
  #over = false;

  private constructor(options: NativeLoadOptions, listeners: EngineListeners) {
    this.#listeners = listeners;
    this.#ended = new Promise(resolve => {
      this.#resolveEnded = resolve;
    });
    const engine = addon().createEngine(options, events => {
      for (const event of events) this.#dispatch(event);
    });
    if (isFailure(engine)) throw fromNative(engine);
    this.#engine = engine;
  }

  /** Creates an engine and waits until its weights are ready. Nothing of it stays behind when that fails. */
  static async load(
    options: NativeLoadOptions,
    listeners: EngineListeners,
    signal: AbortSignal | undefined,
  ): Promise<{ client: EngineClient; description: NativeDescription }> {
    if (signal?.aborted) throw abortedError(signal.reason);
    const client = new EngineClient(options, listeners);
    const abort = (): void => client.#engine.cancel(0);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      const description = await client.hold(
        () =>
          new Promise<NativeDescription>((resolve, reject) => {
            client.#loading = { resolve, reject };
          }),
      );
      if (signal?.aborted) throw abortedError(signal.reason);
      return { client, description };
    } catch (error) {
      await client.close();
      throw signal?.aborted ? abortedError(signal.reason) : error;
    } finally {
      signal?.removeEventListener('abort', abort);
    }
  }

  get closed(): boolean {
    return this.#closing;
  }

  /** Keeps the event loop alive while `work` runs. */
  async hold<T>(work: () => Promise<T>): Promise<T> {
    if (++this.#holds === 1 && !this.#over) this.#engine.ref(true);
    try {
      return await work();
    } finally {
      if (--this.#holds === 0) this.#idle();
    }
  }

  /** Gives the engine the bytes of each id; once, before the first request. */
  setVocabulary(bytes: Uint8Array, offsets: Int32Array): void {
    const failure = this.#engine.setVocabulary(bytes, offsets);
    if (failure !== null) throw fromNative(failure);
  }

  /** Starts a generation; events go to the sink. Answers its id. */
  submit(request: NativeRequest, sink: RequestSink): number {
    return this.#start(() => this.#engine.submit(request), request.images, sink);
  }

  /** Starts encoding an image; events go to the sink. Answers its id. */
  encode(image: NativeImage, tags: { ids: Int32Array; lengths: Int32Array }, sink: RequestSink): number {
    return this.#start(() => this.#engine.encode(image, tags.ids, tags.lengths), [image], sink);
  }

  /** Cancels a request; its sink hears `aborted` if it was still alive. */
  cancel(request: number): void {
    if (this.#sinks.has(request)) this.#engine.cancel(request);
  }

  /** Frees an encoded image. After close there is nothing left to free. */
  release(handle: number): void {
    if (!this.#closing) this.#engine.release(handle);
  }

  /** Tells the user's `onLog`. */
  log(entry: LogEntry): void {
    tell(this.#listeners.onLog, entry);
  }

  stats(): ReturnType<NativeEngine['stats']> {
    if (this.#closing) throw closedError();
    return this.#engine.stats();
  }

  /** Closes once nothing runs any more; for a model that nobody holds. */
  closeWhenIdle(andThen: () => Promise<void>): void {
    this.#onIdle = () => {
      void this.close().then(andThen);
    };
    if (this.#holds === 0) this.#onIdle();
  }

  /** Rejects what is pending with `closed`, stops the engine and waits until its memory is freed. Idempotent. */
  close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true;
      this.#failAll(closedError());
      void this.hold(() => this.#ended);
      this.#engine.close();
    }
    return this.#ended;
  }

  #idle(): void {
    if (this.#over) return;
    this.#engine.ref(false);
    this.#onIdle();
  }

  #start(call: () => number | { code: string; message: string }, images: NativeImage[], sink: RequestSink): number {
    if (this.#closing) throw closedError();
    const id = call();
    if (typeof id !== 'number') throw fromNative(id);
    this.#sinks.set(id, sink);
    if (images.some(image => image.pixels !== undefined)) this.#pinned.set(id, images);
    return id;
  }

  #dispatch(event: NativeEvent): void {
    switch (event.type) {
      case 'loaded':
        this.#loading?.resolve(event.description);
        this.#loading = undefined;
        break;
      case 'progress':
        tell(this.#listeners.onProgress, { loaded: event.loaded, total: event.total });
        break;
      case 'pixels-free':
        this.#pinned.delete(event.request);
        break;
      case 'text':
        this.#sinks.get(event.request)?.onEvent(event);
        break;
      case 'finish':
      case 'encoded':
        this.#end(event.request)?.onEvent(event);
        break;
      case 'error':
        if (event.request === 0) this.#loading?.reject(fromNative(event));
        else this.#end(event.request)?.onError(fromNative(event));
        break;
      case 'closed':
        this.#failAll(closedError());
        this.#engine.ref(false);
        this.#over = true;
        this.#resolveEnded();
        break;
      default:
        event satisfies never;
    }
  }

  #end(request: number): RequestSink | undefined {
    const sink = this.#sinks.get(request);
    this.#sinks.delete(request);
    this.#pinned.delete(request);
    return sink;
  }

  #failAll(error: NvlmError): void {
    this.#loading?.reject(error);
    this.#loading = undefined;
    const sinks = [...this.#sinks.values()];
    this.#sinks.clear();
    for (const sink of sinks) sink.onError(error);
  }
}

/** Calls a user's function so that what it throws is the process's business, not that of the events behind it. */
function tell<T>(listener: ((value: T) => void) | undefined, value: T): void {
  try {
    listener?.(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
