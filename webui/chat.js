// The turns of a conversation in the browser: what is clicked, what is being edited, which folds are open. What is
// drawn anew is closed; it is opened again where somebody had opened it.
const unfolded = new Set();
let editing = '';
const box = element.closest('.chat-scroll');

element.addEventListener('click', (event) => {
  const fold = event.target.closest('summary')?.parentElement;
  if (fold?.dataset.key) { fold.open ? unfolded.delete(fold.dataset.key) : unfolded.add(fold.dataset.key); return; }
  const button = event.target.closest('[data-act]');
  if (!button || button.disabled) return;
  const turn = button.closest('[data-turn]'), { act, choice } = button.dataset, id = turn.dataset.turn;
  const field = turn.querySelector('.asked-edit textarea');
  if (act === 'edit') { editing = id; field.value = field.defaultValue; show(); field.focus(); }
  else if (act === 'cancel') { editing = ''; show(); }
  else if (act === 'ask') { editing = ''; show(); trigger('again', { turn: id, question: field.value }); }
  else if (act === 'again') trigger('again', { turn: id });
  else if (act === 'vote') trigger('vote', { turn: id, choice: button.ariaPressed === 'true' ? '' : choice });
});

const show = () => {
  for (const turn of element.querySelectorAll('[data-turn]')) turn.classList.toggle('editing', turn.dataset.turn === editing);
  for (const fold of element.querySelectorAll('details[data-key]')) fold.open = unfolded.has(fold.dataset.key);
};

// Whoever reads the end of the answers goes on reading it; whoever has scrolled up stays there.
let stick = true;
box?.addEventListener('scroll', () => { stick = box.scrollHeight - box.scrollTop - box.clientHeight < 60; });
watch('value', () => {
  show();
  if (box && stick) box.scrollTop = box.scrollHeight;
});
