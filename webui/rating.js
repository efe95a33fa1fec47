// The rating pane in the browser. It holds the next rows, answers a key at once, and sends judgements behind the scenes:
// one that the server has not acknowledged is kept by the browser, and sent again, also after a reload. The server sends
// rows and acknowledgements by way of the feed beside this pane (`galen.rated`).
const FEW = 20, PATIENCE = 4000, WINDOW = 20, BREAK = 60000;
let mine = new Map(), run = '', task = '', total = 0, kept = 0, left = 0, queue = [], past = [], outbox = [], times = [], order = [];
let writing = false, making = false, posting = 0, known = false, note = '', drawn = '', begun = '';
const FIELDS = 'input, textarea, select, [contenteditable]';
const pane = () => element.querySelector('.rate');
const find = (what) => pane()?.querySelector(what);
const say = (name) => JSON.parse(pane().dataset.say)[name];
const keep = () => galen.keep(`rate.${run}`, outbox);

// By how many rows the count will change once all is acknowledged: `mine` says which of them count already.
const pending = () => {
  const last = new Map(outbox.map((one) => [one.number, !one.undo]));
  return [...last].reduce((sum, [number, judged]) => sum + judged - (mine.get(number) ?? false), 0);
};

const post = () => {
  if (posting || !run) return;
  const mark = posting = Date.now();
  trigger('post', { run, have: queue.map((card) => card.number), said: outbox.slice(0, 100) });
  setTimeout(() => { if (posting === mark) { posting = 0; post(); } }, PATIENCE);  // the answer was lost: once more
};

const open = (id) => {
  run = id; task = ''; total = kept = left = 0; queue = []; past = []; times = []; order = []; writing = false;
  known = making = false; note = ''; posting = 0; mine = new Map();
  outbox = galen.kept(`rate.${run}`, []);
  post();
};

galen.rated = (reply) => {
  if (reply.run !== run || !pane()) return;
  posting = 0;
  if (reply.gone) { note = say('gone'); known = true; return draw(); }
  const done = new Set(reply.acknowledged);
  for (const one of outbox) if (done.has(one.id)) mine.set(one.number, !one.undo);
  outbox = outbox.filter((one) => !done.has(one.id));
  keep();
  ({ task, total } = reply);
  kept = reply.judged; left = reply.left; known = true; note = reply.error || '';
  const have = new Set([...queue, ...outbox].map((one) => one.number));
  queue.push(...reply.cards.filter((card) => !have.has(card.number)));
  if (making && !outbox.length) make();
  if (outbox.length || (queue.length < FEW && left > queue.length)) post();
  draw();
};

// -- judging
const judge = (said) => {
  const card = queue.shift();
  if (!card) return;
  outbox.push({ id: crypto.randomUUID?.() ?? `${Date.now()}.${Math.random()}`, number: card.number, ...said, at: Date.now() / 1000 });
  past.push(card);
  if (times.length && Date.now() - times.at(-1) > BREAK) times = [];
  times = [...times, Date.now()].slice(-WINDOW);
  order = []; writing = false; note = '';
  keep(); draw(); post();
};
const undo = () => {
  if (order.length) { order = []; return draw(); }
  const card = past.pop();
  if (!card) return;
  queue.unshift(card);
  outbox.push({ id: crypto.randomUUID?.() ?? `${Date.now()}.${Math.random()}`, number: card.number, undo: true });
  times.pop();
  keep(); draw(); post();
};
const write = (on) => {
  const field = find('.rate-write textarea');
  writing = on;
  if (on) field.value = task === 'improve' ? queue[0].answer : '';
  draw();
  on ? field.focus() : field.blur();
};
const number = (place) => {
  const answers = queue[0].answers?.length ?? 0;
  if (task !== 'rank') return place < Number(pane().dataset.keys) && judge({ grade: place + 1 });
  if (place >= answers || order.includes(place)) return;
  order.push(place);
  if (order.length < answers - 1) return draw();
  judge({ order: [...order, ...Array.from({ length: answers }, (_, at) => at).filter((at) => !order.includes(at))] });
};
const press = (key) => {
  if (key === 'u') return undo();
  if (!queue.length) return key === 'Enter' && kept + pending() >= total ? make() : undefined;
  if (/^\d$/.test(key) && task !== 'improve') return number((Number(key) || 10) - 1);
  if (key === ' ') return judge({ mark: 'skip' });
  if (task === 'rank' && 'tb'.includes(key)) return judge({ mark: key === 't' ? 'tie' : 'bad' });
  if (task === 'improve' && key === 'f') return judge({ mark: 'fine' });
  if (key === 'e' && (task === 'rank' || task === 'improve')) return write(true);
};
const make = () => {  // once everything is kept
  making = outbox.length > 0;
  if (making) return post();
  trigger('make', { run });
};

// -- drawing
const text = (what, value) => { const node = find(what); if (node && node.textContent !== value) node.textContent = value; };
const draw = () => {
  const root = pane();
  if (!root) return;
  const judged = Math.max(0, kept + pending()), card = queue[0];
  const span = times.length > 2 ? times.at(-1) - times[0] : 0;
  text('.rate-count', known ? `${judged} / ${total}` : '–');
  text('.rate-left', known ? String(Math.max(0, total - judged)) : '–');
  text('.rate-pace', span ? String(Math.round(3.6e6 * (times.length - 1) / span)) : '–');
  find('.rate-share').style.width = `${total ? 100 * judged / total : 0}%`;
  text('.rate-note', note || (outbox.length ? say('unsent').replace('{n}', outbox.length) : ''));
  find('[data-make]').disabled = !known || judged === 0;
  root.dataset.task = task;
  root.dataset.answers = card?.answers?.length === 2 ? 'two' : 'more';
  root.classList.toggle('writing', writing);
  root.classList.toggle('done', known && !card && judged >= total);
  text('.rate-state', card ? '' : known && judged >= total ? say('done') : say('loading'));
  for (const part of ['document', 'question', 'answer']) {
    const section = find(`[data-part=${part}]`);
    section.hidden = !card?.[part];
    section.querySelector('pre').textContent = card?.[part] ?? '';
  }
  answers(card?.answers ?? []);
  root.querySelectorAll('.for-list [data-key]').forEach((button, at) => { button.hidden = at >= (card?.answers?.length ?? 0); });
  if (card && begun !== run && root.checkVisibility()) {  // from here on keys are the pane's, not those of the button that began it
    begun = run;
    if (!document.activeElement?.closest(FIELDS)) root.focus({ preventScroll: true });
  }
  if (card && drawn !== card.number) { drawn = card.number; find('.rate-row').scrollTop = 0; }
};
const answers = (texts) => {
  const box = find('.rate-answers');
  box.replaceChildren(...texts.map((answer, at) => {
    const panel = document.createElement('section'), head = document.createElement('h4'), body = document.createElement('pre');
    head.textContent = panel.dataset.key = (at + 1) % 10;
    body.textContent = answer;
    const place = order.indexOf(at);
    if (place >= 0) { panel.className = 'chosen'; head.textContent += ` → ${place + 1}.`; }
    panel.append(head, body);
    return panel;
  }));
};

// -- events
document.addEventListener('keydown', (event) => {
  const root = pane();
  if (!root?.checkVisibility() || event.isComposing) return;
  if (writing && event.target.matches?.('.rate-write textarea')) {
    if (event.key === 'Escape') write(false);
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey) && event.target.value.trim()) judge({ text: event.target.value.trim() });
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.closest?.(`${FIELDS}, [role=tab], [role=listbox]`)) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const outside = event.target.closest?.('button, a, summary') && !root.contains(event.target);
  if (outside && (key === 'Enter' || (key === ' ' && !queue.length))) return;
  if (outside) root.focus({ preventScroll: true });  // a button is pressed when Space comes up: not that one
  if (/^[0-9 tbfeu]$/.test(key) || key === 'Enter') { event.preventDefault(); press(key); }
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-key]');
  if (button) { press(button.dataset.key); if (!writing) document.activeElement?.blur(); }
  if (event.target.closest('[data-make]')) make();
});
element.addEventListener('change', (event) => { if (event.target.matches('[data-run]')) { open(event.target.value); document.activeElement?.blur(); } });
const settle = () => {
  const root = pane();
  if (!root) { run = ''; return; }
  const runs = JSON.parse(root.dataset.runs);
  if (!runs.includes(run)) open(runs[0]);
  find('[data-run]').value = run;
  draw();
};
watch('value', settle);
settle();
