'use strict';
/**
 * The Node runner: the one program of ours inside a sandbox. Speaks `../PROTOCOL.md`.
 *
 * Started as `node runner.js` with NIMBUS_SOCKET (the driver's socket) and NIMBUS_TASK_DIR (where the user's code
 * goes). Standard library of Node 20 only, one file.
 *
 * Frames are written synchronously to the socket's descriptor, so that what was printed gets out although the code
 * then spins and never lets the event loop run again.
 */
const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');
const { Writable } = require('node:stream');
const { createRequire, wrap } = require('node:module');
const { pathToFileURL } = require('node:url');
const vm = require('node:vm');

const HELLO = 1, LOAD = 2, LOADED = 3, INVOKE = 4, LOG = 5, RESULT = 6, FAULT = 7, PING = 8, PONG = 9;
/** Exit code when the connection to the driver is gone, which ends the runner. */
const EXIT_DISCONNECTED = 76;
const MAX_ERROR_CHARS = 64 * 1024;
const MAX_STACK_FRAMES = 50;
/** A command's output that came by descriptor is looked for this often during a call. */
const LOOK_MS = 50;
/** A call below this is short to the measure of memory, and so long its marks hold. */
const SHORT_MS = 0.25, PEAK_MS = 20;
/** An output file is emptied once this much of it has been read. */
const TRUNCATE_BYTES = 1024 * 1024;
const CHUNK_BYTES = 1024 * 1024;
/** One read of the socket; a frame up to this size is read and written without memory of its own. */
const FRAME_BYTES = 64 * 1024;
/** Size field included. */
const MAX_FRAME_BYTES = 16 * 1024 * 1024 + 4;

// The user's code may replace any of these; the runner goes on with its own.
const { writeSync, readSync, fstatSync, openSync, closeSync, ftruncateSync, readFileSync } = fs;
const { stringify, parse } = JSON;
const now = Date.now;
const exit = process.reallyExit.bind(process);
const usage = process.resourceUsage.bind(process);
const repeat = setInterval;
const stopRepeating = clearInterval;
const soon = setImmediate;
const monotonicMs = performance.now.bind(performance);
const pause = new Int32Array(new SharedArrayBuffer(4));
const NOTHING = Buffer.alloc(0);

const socketPath = process.env.NIMBUS_SOCKET;
// The real path: stack frames are told apart by it.
/** Where the user's code is: a private folder, or the project's own once that is loaded. */
let taskDir = fs.realpathSync(process.env.NIMBUS_TASK_DIR || '/var/task');
delete process.env.NIMBUS_SOCKET;
delete process.env.NIMBUS_TASK_DIR;
Error.stackTraceLimit = MAX_STACK_FRAMES;

/** A bad end that has a name of the platform's. */
class NamedFault extends Error {
  constructor(type, message) {
    super(message);
    this.faultType = type;
  }
}

/**
 * The connection to the driver. Reads by the event loop, writes at once.
 *
 * Past net's streams: they take 64 KiB of new memory for every read, and as long as all the rest of a short call.
 */
class Link {
  constructor(runner, onConnected) {
    this.runner = runner;
    this.out = Buffer.allocUnsafeSlow(FRAME_BYTES);
    this.large = null; // a frame of which a part has come, in memory of its own
    this.have = 0; // so much of it
    this.rest = NOTHING; // less than a frame's first four bytes
    const onread = { buffer: Buffer.allocUnsafeSlow(FRAME_BYTES), callback: (size, buffer) => this.feed(buffer, size) };
    const socket = net.connect({ path: socketPath, onread }, () => {
      this.fd = socket._handle.fd;
      onConnected();
    });
    socket.on('error', () => exit(EXIT_DISCONNECTED));
    socket.on('close', () => exit(EXIT_DISCONNECTED));
  }

  /** The first `end` bytes of `data` have come; they are overwritten once this returns. */
  feed(data, end) {
    let at = 0;
    if (this.large) {
      at = Math.min(end, this.large.length - this.have);
      data.copy(this.large, this.have, 0, at);
      this.have += at;
      if (this.have < this.large.length) return true;
      const whole = this.large;
      this.large = null;
      this.take(whole, 0, whole.length);
    } else if (this.rest.length) {
      data = Buffer.concat([this.rest, data.subarray(0, end)]);
      end = data.length;
    }
    while (end - at >= 4) {
      const size = data.readUInt32BE(at) + 4;
      if (size > MAX_FRAME_BYTES) exit(EXIT_DISCONNECTED);
      if (end - at < size) {
        this.large = Buffer.allocUnsafe(size);
        this.have = data.copy(this.large, 0, at, end);
        at = end;
        break;
      }
      this.take(data, at, at + size);
      at += size;
    }
    this.rest = at === end ? NOTHING : Buffer.from(data.subarray(at, end));
    return true;
  }

  /** One frame, whole. */
  take(data, at, end) {
    const bodyAt = at + 9 + data.readUInt32BE(at + 5);
    const head = bodyAt > at + 9 ? parse(data.utf8Slice(at + 9, bodyAt)) : {};
    this.runner.onFrame(data[at + 4], head, data, bodyAt, end);
  }

  /** `head` is JSON text, `body` text or bytes. */
  send(type, head, body = '') {
    const text = typeof body === 'string';
    let frame = this.out;
    if (9 + 3 * head.length + (text ? 3 : 1) * body.length > FRAME_BYTES) {
      frame = Buffer.allocUnsafe(9 + Buffer.byteLength(head) + (text ? Buffer.byteLength(body) : body.length));
    }
    const headBytes = frame.write(head, 9, 'utf8');
    const end = 9 + headBytes + (text ? frame.write(body, 9 + headBytes, 'utf8') : body.copy(frame, 9 + headBytes));
    frame.writeUInt32BE(end - 4, 0);
    frame[4] = type;
    frame.writeUInt32BE(headBytes, 5);
    let at = 0;
    while (at < end) {
      try {
        at += writeSync(this.fd, frame, at, end - at);
      } catch (error) {
        if (error.code !== 'EAGAIN') exit(EXIT_DISCONNECTED);
        Atomics.wait(pause, 0, 0, 1);
      }
    }
  }
}

/**
 * What the user writes, as LOG frames within the call's budget. Between calls nothing may be sent: it is held, within
 * the same bound, for the next call.
 *
 * Node can't make pipes, so descriptors 1 and 2 become files without a name, to which children and C code append.
 */
class Output {
  constructor() {
    this.link = null;
    this.limit = this.left = 64 * 1024;
    this.full = false;
    this.head = '{'; // of LOG frames; null between calls, undefined until the call with `id` prints
    this.id = undefined;
    this.look = null;
    this.held = [];
    this.parts = { stdout: '', stderr: '' };
    this.files = [];
    this.chunk = Buffer.allocUnsafeSlow(FRAME_BYTES);
    for (const [fd, stream] of [[1, 'stdout'], [2, 'stderr']]) {
      this.redirect(fd, stream);
      this.replace(fd, stream);
    }
  }

  redirect(fd, stream) {
    const name = path.join(taskDir, `.${stream}`);
    const reader = openSync(name, 'a+', 0o600);
    closeSync(fd);
    openSync(name, 'a'); // takes the lowest free number: the one just closed
    fs.unlinkSync(name);
    const { dev, ino } = fstatSync(reader);
    this.files.push({ reader, stream, dev, ino, at: 0, decoder: new (require('node:string_decoder').StringDecoder)('utf8') });
  }

  replace(fd, stream) {
    const output = this;
    const writer = new Writable({
      decodeStrings: false,
      write(chunk, encoding, done) {
        output.drain();
        output.write(stream, typeof chunk === 'string' ? chunk : chunk.toString('utf8'));
        done();
      },
    });
    writer.fd = fd;
    writer._type = 'pipe';
    writer.end = writer.destroy = () => writer; // must not silence the next call
    Object.defineProperty(process, stream, { configurable: true, enumerable: true, get: () => writer });
  }

  /** Take what came by descriptor. */
  drain() {
    for (const file of this.files) {
      try {
        this.drainFile(file);
      } catch {
        this.files = this.files.filter((one) => one !== file); // the user closed it
      }
    }
  }

  drainFile(file) {
    // Most functions never write by descriptor: a read of an empty file costs less than its size.
    let count = file.at ? 0 : readSync(file.reader, this.chunk, 0, FRAME_BYTES, 0);
    if (!file.at && !count) return;
    const { size, dev, ino } = fstatSync(file.reader);
    if (ino !== file.ino || dev !== file.dev) throw new Error('the number is that of another file by now');
    if (size < file.at) file.at = 0; // somebody truncated it
    while (file.at < size && !this.full) {
      count ||= readSync(file.reader, this.chunk, 0, Math.min(FRAME_BYTES, size - file.at), file.at);
      if (!count) break;
      file.at += count;
      this.write(file.stream, file.decoder.write(this.chunk.subarray(0, count)));
      count = 0;
    }
    if (this.full) file.at = size;
    if (file.at >= TRUNCATE_BYTES) {
      ftruncateSync(file.reader, 0);
      file.at = 0;
    }
  }

  write(stream, text) {
    if (this.full) return;
    const all = this.parts[stream] + text;
    const cut = all.lastIndexOf('\n') + 1;
    this.parts[stream] = all.slice(cut);
    if (cut) this.emit(stream, all.slice(0, cut));
    if (this.parts[stream].length > this.left) {
      const rest = this.parts[stream];
      this.parts[stream] = '';
      this.emit(stream, rest);
    }
  }

  emit(stream, text) {
    if (this.full || !text) return;
    const data = Buffer.from(text, 'utf8');
    if (data.length <= this.left) {
      this.left -= data.length;
      this.send(stream, data);
      return;
    }
    this.full = true;
    const kept = data.subarray(0, this.left);
    if (kept.length) this.send(stream, kept[kept.length - 1] === 10 ? kept : Buffer.concat([kept, Buffer.from('\n')]));
    this.send('stderr', Buffer.from(`Nimbus: output cut, more than ${this.limit} bytes in one call\n`));
  }

  send(stream, data) {
    if (this.head === null) {
      this.held.push([stream, data, now()]);
      return;
    }
    for (let at = 0; at < data.length; at += CHUNK_BYTES) {
      this.frame(stream, data.subarray(at, at + CHUNK_BYTES), now());
    }
  }

  frame(stream, data, atMs) {
    this.head ??= `{"id":${stringify(this.id)},`;
    this.link.send(LOG, `${this.head}"stream":"${stream}","at_ms":${atMs}}`, data);
  }

  /** A call starts: what was held goes first. */
  begin(id) {
    this.id = id;
    this.head = undefined;
    if (this.held.length) {
      const held = this.held;
      this.held = [];
      for (const [stream, data, atMs] of held) this.frame(stream, data, atMs);
    }
    if (this.look === null) {
      this.look = repeat(() => this.lookAgain(), LOOK_MS);
      this.look.unref();
    }
  }

  /** One timer for all calls that follow each other closely. */
  lookAgain() {
    if (this.head !== null) this.drain();
    else {
      stopRepeating(this.look);
      this.look = null;
    }
  }

  /** A call is over: all it wrote is sent, with unfinished lines. What follows is held. */
  end() {
    this.drain();
    const { stdout, stderr } = this.parts;
    if (stdout || stderr) {
      this.parts.stdout = this.parts.stderr = '';
      this.emit('stdout', stdout);
      this.emit('stderr', stderr);
    }
    this.head = null;
    this.left = this.limit;
    this.full = false;
  }
}

/** The handler's second argument: attributes, and `get`, which takes snake_case as well. */
class Context {
  #deadline;

  constructor(load, call, startedMs) {
    this.#deadline = startedMs + (call.remaining_ms || 0);
    this.invocationId = call.id;
    this.requestId = call.request_id;
    this.alias = call.alias;
    this.attempt = call.attempt;
    this.triggerType = call.trigger_type;
    this.functionName = load.function_name;
    this.functionVersion = load.function_version;
    this.functionId = load.function_id;
    this.memoryLimitMb = load.memory_mb;
    this.timeoutSec = load.timeout_sec;
  }

  /** Milliseconds until the call is stopped. */
  remainingTimeMs() {
    return Math.max(0, Math.floor(this.#deadline - monotonicMs()));
  }

  get(name, fallback = undefined) {
    const key = String(name).replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
    return Object.hasOwn(this, key) ? this[key] : fallback;
  }
}

/** What Node says when CommonJS meets the syntax of an ES module. */
const ES_MODULE = /Cannot use import statement|Unexpected token 'export'|Cannot use 'import\.meta'|await is only valid in async functions and the top level|Identifier '(module|exports|require|__filename|__dirname)' has already been declared/;

/** Write the source, load it as what it is, find the handler. */
async function loadHandler(load, source) {
  const dot = load.handler.lastIndexOf('.');
  const moduleName = load.handler.slice(0, dot);
  const name = load.handler.slice(dot + 1);
  if (dot < 1 || !name) throw new NamedFault('HandlerNotFound', `The handler "${load.handler}" is not of the form module.function.`);
  const exported = source === null ? await loadFromProject(moduleName) : await loadModule(writeSource(moduleName, source));
  const found = exported?.[name] ?? exported?.default?.[name];
  if (typeof found === 'function') return found;
  const all = { ...exported?.default, ...exported };
  const own = Object.keys(all).filter((key) => typeof all[key] === 'function').slice(0, 20);
  const there = own.length ? `It exports: ${own.join(', ')}.` : 'It exports no functions.';
  throw new NamedFault('HandlerNotFound', `The module "${moduleName}" exports no function named "${name}". ${there}`);
}

function writeSource(moduleName, source) {
  const file = path.join(taskDir, `${moduleName}.js`);
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, source);
  return file;
}

/** A project's files stay as they are: whether one is an ES module is said by its suffix, its package.json or its syntax. */
async function loadFromProject(moduleName) {
  // Not existsSync: it asks with fewer rights than reading has.
  const there = (name) => fs.statSync(name, { throwIfNoEntry: false })?.isFile();
  const file = ['.js', '.mjs', '.cjs'].map((suffix) => path.join(taskDir, moduleName + suffix)).find(there);
  if (!file) {
    const found = fs.readdirSync(taskDir).filter((name) => /\.[cm]?js$/.test(name)).join(', ') || 'none';
    throw new NamedFault('ModuleNotFound', `There is no file ${moduleName}.js in the project. JavaScript files there: ${found}.`);
  }
  try {
    if (!file.endsWith('.mjs')) return createRequire(file)(file);
  } catch (error) {
    const ours = /^ERR_REQUIRE_(ESM|ASYNC_MODULE)$/.test(error.code) || (error instanceof SyntaxError && ES_MODULE.test(error.message));
    if (!ours) throw error;
  }
  return import(pathToFileURL(file).href);
}

async function loadModule(file) {
  try {
    return createRequire(file)(file);
  } catch (error) {
    const unread = error instanceof SyntaxError && String(error.stack).startsWith(file) && ES_MODULE.test(error.message);
    // Newer releases read ES modules here too, but for those that await at their top level.
    const awaits = error?.code === 'ERR_REQUIRE_ASYNC_MODULE' && !isCommonJs(file);
    if (!unread && !awaits) throw error;
  }
  const moduleFile = file.replace(/\.js$/, '.mjs');
  fs.renameSync(file, moduleFile);
  return import(pathToFileURL(moduleFile).href);
}

/** Whether the file's own text parses as CommonJS; what it requires may be another matter. */
function isCommonJs(file) {
  try {
    new vm.Script(wrap(readFileSync(file, 'utf8')));
    return true;
  } catch {
    return false;
  }
}

/** The result as JSON text. Throws NamedFault. */
function encodeResult(result, limit) {
  const tooLarge = () => new NamedFault('ResultTooLarge', `The result is larger than the ${limit} bytes that are allowed.`);
  if (leastBytes(result, limit) > limit) throw tooLarge();
  let text;
  try {
    text = result === undefined ? 'null' : stringify(result);
  } catch (error) {
    if (error instanceof RangeError && /string length/.test(error.message)) throw tooLarge();
    const why = error instanceof RangeError ? 'it is nested too deeply' : firstLine(messageOf(error));
    throw new NamedFault('ResultNotJson', `The result can't be written as JSON: ${why}.`);
  }
  if (text === undefined) throw new NamedFault('ResultNotJson', `The result can't be written as JSON: it is a ${typeof result}.`);
  if (3 * text.length > limit && Buffer.byteLength(text) > limit) throw tooLarge();
  // Lone surrogates come out of stringify as escapes, which strict parsers refuse.
  return text.includes('\\ud') ? text.replace(/\\(\\|ud[89a-f][0-9a-f]{2})/g, (all, what) => (what === '\\' ? all : '\ufffd')) : text;
}

/** A lower bound of the JSON text's length, from a look at the first few values: spares encoding the hopeless. */
function leastBytes(result, limit) {
  let total = 0;
  const stack = [result];
  for (let looks = 200; stack.length && looks && total <= limit; looks--) {
    const value = stack.pop();
    if (typeof value === 'string') total += value.length;
    else if (Array.isArray(value)) {
      total += 2 * value.length - 1;
      for (let at = 0; at < value.length && at < looks; at++) stack.push(value[at]);
    } else if (value && Object.getPrototypeOf(value) === Object.prototype) {
      for (const key in value) {
        if (stack.length > looks) break;
        const slot = Object.getOwnPropertyDescriptor(value, key); // a getter is not run twice
        if (slot && 'value' in slot) stack.push(slot.value);
      }
    }
  }
  return total;
}

function firstLine(text) {
  return text.split('\n', 1)[0];
}

function messageOf(error) {
  let text;
  try {
    text = error instanceof Error ? String(error.message) : typeof error === 'object' && error ? stringify(error) : String(error);
  } catch {
    text = "(its message can't be shown)";
  }
  text = (text || typeOf(error)).toWellFormed();
  return text.length > MAX_ERROR_CHARS ? `${text.slice(0, MAX_ERROR_CHARS)}… (cut: ${text.length} characters)` : text;
}

function typeOf(error) {
  try {
    if (error instanceof Error) return String(error.constructor?.name || error.name);
    return String(error?.constructor?.name ?? error);
  } catch {
    return 'Error';
  }
}

/** The user's frames, outermost first; then those of the error's cause. */
function stackOf(error) {
  const lines = [];
  for (let depth = 0; error instanceof Error && depth < 5; depth++, error = error.cause) {
    if (depth) lines.push(`caused by ${typeOf(error)}: ${messageOf(error).slice(0, 500)}`);
    let stack = '';
    try {
      stack = String(error.stack);
    } catch {
      // a getter of the user's
    }
    const frames = stack.split('\n').filter((line) => /^\s+at /.test(line) && line.includes(taskDir));
    const plain = (line) => line.trim().replace('file://', '').replace(`${taskDir}/`, '').replace(/\.mjs:/, '.js:').toWellFormed();
    lines.push(...frames.reverse().map(plain));
  }
  return lines.slice(0, 2 * MAX_STACK_FRAMES);
}

/**
 * Peak resident memory of one call (Linux; elsewhere that of the process's whole life).
 *
 * Asking costs a short call a fifth of its time, and in SHORT_MS a process can't fill more than a megabyte or two: short
 * calls that follow each other within PEAK_MS are told the first one's peak.
 *
 * The file that lowers the mark is opened each time: a descriptor that stays could be closed by the user's code, and its
 * number be that of a file of the user's when "5" is written.
 */
class Peak {
  constructor() {
    this.mark = Buffer.from('5'); // proc_pid_clear_refs(5)
    this.since = -PEAK_MS; // when it was lowered
    this.known = 0; // MiB, once asked after that
    this.stale = false; // a call that was not short has raised it
    // getrusage(2) never says less than what the process was before it became Node; /proc does, but takes ten times as long.
    this.least = this.lower() && usage().maxRSS > this.slow() + 1024 ? usage().maxRSS : 0;
  }

  /** A call starts at `nowMs`. */
  begin(nowMs) {
    if (!this.stale && nowMs - this.since < PEAK_MS) return;
    this.lower();
    this.since = nowMs;
    this.stale = false;
    this.known = 0;
  }

  /** The high-water mark falls to what is resident now, where that is possible. */
  lower() {
    let fd;
    try {
      fd = openSync('/proc/self/clear_refs', 'w');
      return writeSync(fd, this.mark, 0, 1) === 1;
    } catch {
      return false; // not Linux, not allowed, or the user has used up all descriptors
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }

  /** MiB of a call that has taken so long. */
  mb(spentMs) {
    const short = spentMs < SHORT_MS;
    if (short && this.known) return this.known;
    let kib = usage().maxRSS;
    if (kib <= this.least) kib = this.slow() || kib;
    this.stale = !short;
    return (this.known = Math.round((kib / 1024) * 100) / 100);
  }

  /** KiB; 0 where there is no /proc, or the user has used up all descriptors. */
  slow() {
    try {
      return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'latin1'))[1]);
    } catch {
      return 0;
    }
  }
}

/** LOAD once, then one INVOKE after the other. */
class Runner {
  constructor(output) {
    this.output = output;
    this.peak = new Peak();
    this.current = undefined; // {id, started} of the load (without id) or call under way
  }

  connect() {
    const hello = { protocol: 1, runtime: `nodejs${process.versions.node.split('.')[0]}`, pid: process.pid };
    const greet = () => this.link.send(HELLO, stringify({ ...hello, language_version: process.versions.node }));
    this.link = this.output.link = new Link(this, greet);
    process.on('uncaughtException', (error) => this.uncaught('uncaughtException', error));
    process.on('unhandledRejection', (error) => this.uncaught('unhandledRejection', error));
    process.on('exit', () => this.current && this.output.end());
  }

  /** The body is `data` from `at` to `end`, and is overwritten once this returns. */
  onFrame(type, head, data, at, end) {
    if (type === INVOKE) this.invoke(head, data.utf8Slice(at, end));
    else if (type === PING) this.link.send(PONG, stringify(head), data.subarray(at, end));
    else if (type === LOAD) this.load(head, data.subarray(at, end));
    else exit(EXIT_DISCONNECTED);
  }

  async load(head, artifact) {
    const current = (this.current = { started: monotonicMs() });
    this.head = head;
    this.output.limit = this.output.left = head.max_log_bytes;
    Object.assign(process.env, head.env);
    try {
      if (head.artifact_kind === 'tree') taskDir = fs.realpathSync(path.join(head.files, 'task'));
      else if (head.artifact_kind !== 'source') {
        throw new NamedFault('ArtifactKind', `This runtime can't load an artifact of kind "${head.artifact_kind}".`);
      }
      this.handler = await loadHandler(head, head.artifact_kind === 'tree' ? null : artifact);
    } catch (error) {
      this.fault(current, error, false, true);
      return;
    }
    if (this.current !== current) return;
    this.output.end();
    this.current = undefined;
    this.link.send(LOADED, stringify({ load_ms: monotonicMs() - current.started }));
  }

  /** `event` is JSON text. */
  async invoke(head, event) {
    const started = monotonicMs();
    this.peak.begin(started);
    this.output.begin(head.id);
    const current = (this.current = { id: head.id, started });
    let text;
    try {
      const result = await this.handler(parse(event), new Context(this.head, head, started));
      text = encodeResult(result, this.head.max_result_bytes);
    } catch (error) {
      this.fault(current, error, false, false);
      return;
    }
    // One turn of the event loop: a promise rejected in this call without a listener is this call's failure.
    soon(() => {
      if (this.current !== current) return;
      const spent = monotonicMs() - started;
      this.current = undefined;
      this.output.end();
      const told = `"duration_ms":${Math.round(spent * 1000) / 1000},"memory_mb":${this.peak.mb(spent)}`;
      this.link.send(RESULT, `{"id":${stringify(head.id)},${told}}`, text);
    });
  }

  /** An error nobody caught: ends the call and, as ever in Node, the process. */
  uncaught(event, error) {
    if (process.listenerCount(event) > 1) return; // the user's own listener takes care of it
    if (!this.current) exit(1);
    this.fault(this.current, error, true, this.current.id === undefined);
  }

  fault(current, error, fatal, loading) {
    if (this.current !== current) return;
    this.current = undefined;
    const spent = monotonicMs() - current.started;
    const head = {
      id: current.id,
      error: messageOf(error),
      error_type: typeOf(error),
      stack_trace: error instanceof NamedFault ? [] : stackOf(error),
      duration_ms: spent,
      memory_mb: this.peak.mb(spent),
      fatal,
    };
    if (error instanceof NamedFault) head.error_type = error.faultType;
    else if (loading && /^(ERR_)?MODULE_NOT_FOUND$/.test(error?.code)) {
      head.error_type = 'ModuleNotFound';
      head.error = `${firstLine(head.error)}. It is neither part of Node nor packaged with the function.`;
    } else if (error instanceof SyntaxError && loading) {
      head.error_type = 'SyntaxError';
      const place = new RegExp(`${taskDir}/(.*?):(\\d+)`).exec(String(error.stack));
      if (place) head.error += ` (${place[1].replace(/\.mjs$/, '.js')}, line ${place[2]})`;
    }
    this.output.end();
    this.link.send(FAULT, stringify(head));
    if (fatal) exit(1);
  }
}

new Runner(new Output()).connect();
