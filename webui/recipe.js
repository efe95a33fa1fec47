// The recipe pane in the browser. It owns the draft: at every change ('draft') the server is sent it whole and answers
// with the pane's HTML. Values stand in data-value, not in value, so that nothing is put into a field while somebody
// types there; what is open or unfolded is the browser's own business and is applied anew after every answer.
let draft = null, taken = null, typing = null, timer = null, focus = null, tried = false;
let ui = { open: null, menu: false, more: {} };
const pane = () => element.querySelector('.recipe');
const stepOf = (node) => draft.steps.find((step) => step.id === Number(node.closest('[data-step]')?.dataset.step));

const keep = () => {
  const all = galen.kept('recipes', {});
  delete all[draft.ref];
  all[draft.ref] = draft; // the newest last
  const refs = Object.keys(all);
  for (const ref of refs.slice(0, Math.max(0, refs.length - 40))) delete all[ref];
  galen.keep('recipes', all);
};
const send = () => { clearTimeout(timer); timer = null; keep(); trigger('draft'); };

// For what stands beside the pane: the draft as it is, and, for the buttons, with every step marked as tried.
galen.draft = () => { clearTimeout(timer); timer = null; return draft ? JSON.stringify(draft) : ''; };
galen.recipe = () => {
  if (!draft) return '';
  draft.steps.forEach((step) => { step.tried = true; });
  tried = true; keep();
  return galen.draft();
};

const set = (field, value) => {
  const [where, at, name] = field.dataset.path.split('.');
  if (where === 'steps') draft.steps.find((step) => step.id === Number(at)).values[name] = value;
  else if (where === 'mixed') draft.mixed[Number(at)].weight = value;
  else draft[where] = value;
};

const acts = {
  menu: () => { ui.menu = !ui.menu; show(); },
  open: (button) => { const { id } = stepOf(button); ui.open = ui.open === id ? null : id; show(); },
  more: (button) => { const { id } = stepOf(button); ui.more[id] = !ui.more[id]; show(); },
  add: (button) => {
    const id = Math.max(0, ...draft.steps.map((step) => step.id)) + 1;
    draft.steps.push({ id, do: button.dataset.do, values: {}, tried: false });
    ui.open = id; ui.menu = false; focus = `[data-step="${id}"] :is(input, select, textarea)`;
    send();
  },
  remove: (button) => { const step = stepOf(button); draft.steps = draft.steps.filter((other) => other !== step); send(); },
  up: (button) => move(button, -1),
  down: (button) => move(button, 1),
  unmix: (button) => { draft.mixed.splice(Number(button.dataset.at), 1); send(); },
  preset: (button) => { ui.menu = false; trigger('preset', { draft, name: button.dataset.name }); },
};
const move = (button, by) => {
  const step = stepOf(button), at = draft.steps.indexOf(step), to = at + by;
  if (to < 0 || to >= draft.steps.length) return;
  draft.steps.splice(at, 1); draft.steps.splice(to, 0, step);
  focus = `[data-step="${step.id}"] [data-act="${button.dataset.act}"]`;
  send();
};

const show = () => {
  const root = pane();
  if (!root || !draft) return;
  root.classList.toggle('menu-open', ui.menu);
  root.querySelector('[data-act="menu"]')?.setAttribute('aria-expanded', ui.menu);
  for (const row of root.querySelectorAll('[data-step]')) {
    const id = Number(row.dataset.step);
    row.classList.toggle('open', id === ui.open);
    row.classList.toggle('more', !!ui.more[id]);
    row.querySelector('.rec-what')?.setAttribute('aria-expanded', id === ui.open);
  }
};
const settle = () => {
  const root = pane();
  if (!root) { draft = null; return; }
  if (root.dataset.token !== taken) { // another dataset, or a preset: the server's draft replaces this one
    taken = root.dataset.token;
    draft = JSON.parse(root.dataset.draft);
    ui = { open: null, menu: false, more: {} }; typing = null; clearTimeout(timer); timer = null;
    keep();
  }
  show();
  for (const field of root.querySelectorAll('[data-value]')) {
    if (field.dataset.path && field.dataset.path === typing) continue;
    if (field.type === 'checkbox') field.checked = field.dataset.value === 'true';
    else if (field.value !== field.dataset.value) field.value = field.dataset.value;
  }
  const wrong = tried && root.querySelector('.rec-step.wrong');
  if (wrong) { ui.open = Number(wrong.dataset.step); show(); }
  tried = false;
  if (focus) { root.querySelector(focus)?.focus(); focus = null; }
};

element.addEventListener('click', (event) => {
  const chip = event.target.closest('[data-chip]');
  if (chip && draft) {
    chip.setAttribute('aria-pressed', chip.getAttribute('aria-pressed') !== 'true');
    const field = chip.closest('[data-path]');
    set(field, [...field.querySelectorAll('[aria-pressed=true]')].map((one) => one.dataset.chip).join(', '));
    return send();
  }
  const button = event.target.closest('[data-act]');
  if (button && draft && !button.disabled) acts[button.dataset.act](button);
});
element.addEventListener('input', (event) => {
  const field = event.target.closest('[data-path]');
  if (!field || !draft) return;
  set(field, field.type === 'checkbox' ? field.checked : field.value);
  typing = field.dataset.path;
  clearTimeout(timer);
  timer = setTimeout(send, field.matches('select, [type=checkbox]') ? 0 : 400);
});
element.addEventListener('change', (event) => {
  const field = event.target.closest('[data-mix]');
  if (field && field.value && draft) { draft.mixed.push({ dataset: field.value, weight: '1' }); field.value = ''; send(); }
});
element.addEventListener('focusout', () => { typing = null; if (timer) send(); });
element.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && timer && event.target.matches('input')) send();
  if (event.key === 'Escape' && ui.menu) { ui.menu = false; show(); pane().querySelector('[data-act="menu"]')?.focus(); }
});
document.addEventListener('click', (event) => {
  if (ui.menu && !event.target.closest('.rec-add')) { ui.menu = false; show(); }
});
watch('value', settle);
settle();
