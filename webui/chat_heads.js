// The panes above their answers: the lists say what they were given, whatever somebody has chosen in the meantime.
const OTHER = '\t';
const pane = (node) => node.closest('[data-pane]')?.dataset.pane;

element.addEventListener('change', (event) => {
  const field = event.target.closest('[data-field]');
  if (!field) return;
  const head = field.closest('[data-pane]');
  if (field.value === OTHER) { head.classList.add('asks'); head.querySelector('.other')?.focus(); return; }
  head.classList.remove('asks');
  trigger('pane', { pane: pane(field), [field.dataset.field]: field.value.trim() });
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (button && !button.disabled) trigger('pane', { pane: pane(button), act: button.dataset.act });
});
const settle = () => {
  for (const field of element.querySelectorAll('select[data-value]'))
    if (field.value !== field.dataset.value && !field.closest('.asks')) field.value = field.dataset.value;
};
watch('value', settle);
settle();
