// The little that must happen in the browser: the address, folded settings, copying, values under the pointer.
(() => {
  const galen = (window.galen = {});

  // Gradio keeps a loading status for every input of every event that has ended, and tells each of them at every event,
  // by a search through the whole page. An event that shows its progress nowhere (webui/app.py) is to tell nobody: the
  // list of those that are told is made by joining the inputs to this empty one.
  for (const event of window.gradio_config?.dependencies ?? [])
    if (event.show_progress_on?.length === 0) Object.defineProperty(event.show_progress_on, 'concat', {value: () => []});

  // While the page is set up its tabs come and go, and the address is what they are set by: it is left alone until then,
  // and is told afterwards what it does not say.
  let tabThen = '', runThen = {};
  galen.address = (parts) => {
    if (!galen.ready) { tabThen = parts.tab ?? tabThen; return; }
    const url = new URL(location.href);
    for (const [key, value] of Object.entries(parts)) value ? url.searchParams.set(key, value) : url.searchParams.delete(key);
    history.replaceState(null, '', url);
  };

  // A stage's selector names its run in the address only while its tab is in front.
  galen.begin = () => {
    galen.ready = true;
    const said = new URL(location.href).searchParams, tab = said.get('tab') || tabThen || 'sft';
    if (!said.get('tab') && tabThen) galen.address({tab});
    galen.address({panes: ''});  // the conversation has them now
    if (!said.get('run') && runThen[tab]) galen.address({run: runThen[tab]});
  };
  galen.shown = (stage, run) => {
    if (!galen.ready) { runThen[stage] = run; return; }
    if ((new URL(location.href).searchParams.get('tab') || 'sft') === stage) galen.address({run});
  };

  // The stage in front of a tab with several, which the address names instead of the tab; '' while another tab is there.
  galen.method = (stages, stage, runs) => {
    if (!stages.includes(new URL(location.href).searchParams.get('tab'))) return '';
    galen.address({tab: stage, run: runs[stages.indexOf(stage)]});
    return stage;
  };

  // So do the chosen dataset and the part of the Data tab, while that tab is in front.
  galen.part = 'bring';
  galen.data = (parts) => {
    if ('part' in parts) {  // another part begins at its top, wherever the one before was left
      if (parts.part !== galen.part) document.querySelector('.data-work')?.scrollTo(0, 0);
      galen.part = parts.part;
    }
    if (new URL(location.href).searchParams.get('tab') === 'data') galen.address({...parts, part: galen.part});
  };

  // What the browser keeps from one visit to the next: the language, unsent forms, the conversation.
  galen.keep = (name, value) => { try { localStorage.setItem(`galen.${name}`, JSON.stringify(value)); } catch { /* storage is full or off */ } };
  galen.kept = (name, fallback) => { try { return JSON.parse(localStorage.getItem(`galen.${name}`)) ?? fallback; } catch { return fallback; } };

  // Edited model cards, by run: the last few.
  galen.keepCard = (run, card) => {
    const {[run]: _, ...others} = galen.kept('cards', {});
    galen.keep('cards', Object.fromEntries([...Object.entries(others), ...(run && card ? [[run, card]] : [])].slice(-20)));
  };

  // Whether the page has `frame` and lacks `what` in it.
  galen.missing = (frame, what) => !!document.querySelector(frame)?.checkVisibility() && !document.querySelector(what);

  // What is shown is about to be drawn anew: not yet what was asked for.
  galen.busy = (what, on) => { document.querySelector(what)?.classList.toggle('waits-for-news', on); };

  // Scroll the column that holds `what` and nothing else, so that `what` stands beneath the column's tabs.
  galen.reveal = (what, patience = 20) => {
    const found = document.querySelector(what), box = found?.closest('.work');
    if (!found?.checkVisibility()) { if (patience) setTimeout(() => galen.reveal(what, patience - 1), 50); return; }
    box?.scrollTo({ top: box.scrollTop + found.getBoundingClientRect().top - box.getBoundingClientRect().top - 50, behavior: 'smooth' });
  };

  galen.advanced = (id, on) => { document.getElementById(id)?.classList.toggle('show-advanced', on); };

  // "auto" excludes the others: whichever was clicked last wins.
  let devicesBefore = ['auto'];
  galen.devices = (chosen) => {
    const fresh = chosen.filter((name) => !devicesBefore.includes(name));
    let result = fresh.includes('auto') ? ['auto'] : chosen.filter((name) => name !== 'auto' || chosen.length === 1);
    if (!result.length) result = ['auto'];
    devicesBefore = result;
    return result;
  };

  // A page that came over plain HTTP from another machine has no clipboard of its own.
  const copied = async (text) => {
    try { await navigator.clipboard.writeText(text); return true; } catch { /* the old way, then */ }
    const field = document.createElement('textarea');
    field.value = text; document.body.append(field); field.select();
    try { return document.execCommand('copy'); } finally { field.remove(); }
  };

  // Hand the browser a file: of which the page has the text, which the server has written, or a drawing as a picture.
  const handed = (href, name) => {
    const link = document.createElement('a');
    link.href = href; link.download = name;
    document.body.append(link); link.click(); link.remove();
    if (href.startsWith('blob:')) setTimeout(() => URL.revokeObjectURL(href), 10000);
  };
  galen.download = (file) => {
    if (file?.name) handed(URL.createObjectURL(new Blob([file.text], { type: 'text/markdown;charset=utf-8' })), file.name);
  };
  galen.fetch = (file) => { if (file?.path) handed(`gradio_api/file=${encodeURIComponent(file.path)}`, file.name); };
  galen.png = async (what, name, scale = 2) => {
    const svg = document.querySelector(what), { width, height } = svg?.viewBox.baseVal ?? {};
    if (!svg) return;
    const copy = svg.cloneNode(true), picture = new Image(), canvas = document.createElement('canvas');
    copy.setAttribute('width', width * scale); copy.setAttribute('height', height * scale);
    picture.src = 'data:image/svg+xml;charset=utf-8,' + encodeURIComponent(new XMLSerializer().serializeToString(copy));
    await picture.decode();
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const pen = canvas.getContext('2d');
    pen.fillStyle = '#fff'; pen.fillRect(0, 0, canvas.width, canvas.height); pen.drawImage(picture, 0, 0);
    canvas.toBlob((blob) => handed(URL.createObjectURL(blob), name), 'image/png');
  };

  // A run that ends is told in the page's title until somebody looks, and by the browser where it was asked to. The
  // sidebar says how each run is (webui/views_lists.py); what had ended when the page was opened is no news.
  let lived = null, ends = [];
  const allowed = () => window.Notification?.permission === 'granted' && galen.kept('notify', false);
  const belled = () => {
    const denied = !window.Notification || Notification.permission === 'denied', bell = document.querySelector('.bell');
    if (bell) bell.dataset.state = denied ? 'denied' : allowed() ? 'on' : 'off';
  };
  const entitled = () => { document.title = ends.length ? `${ends.at(-1)} · Galen` : 'Galen'; };
  const looked = () => { if (ends.length && document.visibilityState === 'visible') { ends = []; entitled(); } };
  for (const name of ['pointermove', 'keydown', 'focus']) window.addEventListener(name, looked);
  galen.ended = (run, name, how) => {
    ends.push(`${how}: ${name}`); entitled();
    if (!allowed()) return;
    const told = new Notification(name, { body: how, tag: run });
    told.onclick = () => { window.focus(); document.querySelector(`#side-runs [data-run="${run}"]`)?.click(); told.close(); };
  };
  const heard = () => {
    const said = document.querySelector('#side-runs [data-ends]')?.dataset.ends;
    if (!said || said === heard.last) return;
    heard.last = said;
    belled();
    const now = Object.entries(JSON.parse(said));
    for (const [run, [name, how]] of now) if (how && lived?.has(run)) galen.ended(run, name, how);
    lived = new Set(now.filter(([, [, how]]) => !how).map(([run]) => run));
  };
  document.addEventListener('click', async (event) => {
    if (!event.target.closest?.('.bell') || !window.Notification) return;
    if (allowed()) galen.keep('notify', false);
    else if (await Notification.requestPermission() === 'granted') galen.keep('notify', true);
    belled();
  });

  document.addEventListener('click', async (event) => {
    const button = event.target.closest?.('[data-copy]');
    if (!button) return;
    const before = button.textContent;
    if (!await copied(button.dataset.copy)) return;
    button.textContent = button.dataset.done;
    setTimeout(() => { button.textContent = before; }, 1500);
  });
  // A field's help opens to the side of its column that has more room, and no wider than that.
  for (const name of ['mouseover', 'focusin']) document.addEventListener(name, ({target}) => {
    const field = target.closest?.('.field'), column = field?.closest('.setup, .work');
    if (!column) return;
    const at = field.getBoundingClientRect(), room = column.getBoundingClientRect();
    const [after, before] = [room.right - at.left, at.right - room.left];
    field.toggleAttribute('data-tip-end', before > after);
    field.style.setProperty('--tip', `${Math.floor(Math.max(before, after)) - 8}px`);
  });
  document.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && event.target.matches?.('tr[data-run]')) event.target.click();
  });

  // A field's help and its message arrive as character references (webui/figures.py, `literal`), because Gradio would
  // read them as Markdown; here, before they are painted, they become the characters that were meant.
  const spell = (box) => {
    if (box.textContent === box.spelt) return;  // what was typed may look like a reference itself
    box.spelt = box.textContent.replace(/&#(\d+);/g, (_, code) => String.fromCodePoint(code));
    if (box.textContent !== box.spelt) box.textContent = box.spelt;
  };
  new MutationObserver((changes) => {
    heard();
    const lang = document.querySelector('.brand')?.lang;
    if (lang && document.documentElement.lang !== lang) document.documentElement.lang = lang;
    for (const { target } of changes) {
      const inside = target.nodeType === 1 ? target : target.parentElement;
      const box = inside?.closest?.('.info-text');
      if (box) spell(box); else inside?.querySelectorAll?.('.info-text').forEach(spell);
    }
  }).observe(document.documentElement, { childList: true, subtree: true, characterData: true });

  const number = (value) => (Math.abs(value) >= 1e-3 || value === 0) ? String(+value.toPrecision(4)) : value.toExponential(2);
  const nearest = (points, x) => points.reduce((best, point) => Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best);
  let tip = null;
  const leave = () => { tip?.remove(); tip = null; document.querySelectorAll('.chart.hover').forEach((c) => c.classList.remove('hover')); };
  document.addEventListener('mousemove', (event) => {
    const chart = event.target.closest?.('svg.chart[data-curve]');
    if (!chart) return leave();
    const data = JSON.parse(chart.dataset.curve);
    const [left, right, , , low, high] = data.box;
    const frame = chart.getBoundingClientRect();
    const scale = chart.viewBox.baseVal.width / frame.width;
    const x = low + ((event.clientX - frame.left) * scale - left) / (right - left) * (high - low);
    const step = nearest(data.curves.flatMap((curve) => curve.p), x)[0];
    const lines = data.curves.map((curve) => { const p = nearest(curve.p, step); return `${curve.l}  ${number(p[1])}` + (p[0] === step ? '' : `  (${p[0]})`); });
    if (!tip) { tip = document.createElement('div'); tip.className = 'chart-tip'; (document.querySelector('.gradio-container') || document.body).append(tip); }
    tip.textContent = [`${data.x} ${step}`, ...lines].join('\n');
    const at = left + (step - low) / (high - low) * (right - left);
    const cross = chart.querySelector('.cross');
    cross.setAttribute('x1', at); cross.setAttribute('x2', at);
    chart.classList.add('hover');
    const px = frame.left + at / scale;
    tip.style.left = `${px + 12 + tip.offsetWidth > innerWidth ? px - tip.offsetWidth - 12 : px + 12}px`;
    tip.style.top = `${Math.max(4, event.clientY - tip.offsetHeight - 8)}px`;
  });
})();
