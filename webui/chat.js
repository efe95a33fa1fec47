// The turns of a conversation in the browser: what is clicked, what is being edited, which folds are open. A fold that is
// drawn anew is closed; it is opened again where somebody had opened it.
const unfolded = new Set();
const box = element.closest('.chat-scroll');

element.addEventListener('click', (event) => {
  const fold = event.target.closest('summary')?.parentElement;
  if (fold?.dataset.key) { fold.open ? unfolded.delete(fold.dataset.key) : unfolded.add(fold.dataset.key); return; }
  const button = event.target.closest('[data-act]');
  if (!button || button.disabled) return;
  const turn = button.closest('[data-turn]'), { act, choice } = button.dataset, id = turn.dataset.turn;
  const field = turn.querySelector('.asked-edit textarea');
  if (act === 'edit') { turn.classList.add('editing'); field.value = field.defaultValue; field.focus(); }
  else if (act === 'cancel') turn.classList.remove('editing');
  else if (act === 'ask') { turn.classList.remove('editing'); trigger('again', { turn: id, question: field.value }); }
  else if (act === 'again') trigger('again', { turn: id });
  else if (act === 'vote') trigger('vote', { turn: id, choice: button.ariaPressed === 'true' ? '' : choice });
});

// Whoever reads the end of the answers goes on reading it; whoever has scrolled up stays there.
let stick = true;
box?.addEventListener('scroll', () => { stick = box.scrollHeight - box.scrollTop - box.clientHeight < 60; });
watch('value', () => {
  for (const fold of element.querySelectorAll('details[data-key]')) fold.open = unfolded.has(fold.dataset.key);
  if (box && stick) box.scrollTop = box.scrollHeight;
});
