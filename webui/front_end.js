// Two searches of Gradio's front end, as look-ups. `webui/front_end.py` puts this before the file that searches.

const galenNodes = new WeakMap(), galenEvents = new WeakMap();

// The component with `id` in the tree under `root`; null: none. A tree whose branches are drawn anew (`gr.render`, which
// this page does not use) would have to be walked again.
function galenNode(root, id) {
  let nodes = galenNodes.get(root);
  if (!nodes) {
    galenNodes.set(root, nodes = new Map());
    const walk = (node) => { if (!nodes.has(node.id)) nodes.set(node.id, node); for (const child of node.children ?? []) walk(child); };
    walk(root);
  }
  return nodes.get(id) ?? null;
}

// The name of what each of `events` listens to at the component with `id`, for those that do.
function galenAttached(events, id) {
  let names = galenEvents.get(events);
  if (!names) {
    galenEvents.set(events, names = new Map());
    for (const {targets} of events) {
      const first = new Map();
      for (const [target, name] of targets) if (!first.has(target)) first.set(target, name);
      for (const [target, name] of first) if (name) names.set(target, [...(names.get(target) ?? []), name]);
    }
  }
  return [...(names.get(id) ?? [])];
}

