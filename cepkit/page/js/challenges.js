/* Three challenges with a score.  A challenge prepares the sheet, hears of each stimulus, and judges each frame. */
'use strict';

const TURNS = 400;  // so long after the last stimulus a wave must still turn [ms]
const S2 = {from: 100, to: 250, side: 25, near: 10};  // of the vulnerable window: S2 after S1, nodes, wanted precision
const points = lost => Math.max(0, Math.round(100 - lost));

const CHALLENGES = {
  start: {
    title: 'Start a re-entry',
    text: `Pace, click by click, until a wave turns on its own ${TURNS} ms after your last stimulus. Two stimuli give `
      + '100 points, each further one takes 10. A square of 25 × 25 nodes helps.',
    begin({live}) { live.side.value = S2.side; live.size(SPIRAL.rows, SPIRAL.factors); },
    judge(game, {t, activity}) {
      if (!game.stimuli || activity.turning === null || t - activity.stimulus < TURNS) return;
      game.won(points(10 * Math.max(0, game.stimuli - 2)), `with ${game.stimuli} stimuli`);
    },
  },
  end: {
    title: 'End a re-entry',
    text: 'A wave turns. Bring the sheet to rest by stimuli or lines of block: 100 points, less 5 for each stimulus and '
      + '1 for each blocked node. Block may be put down in advance while the sheet pauses.',
    begin({live}) {
      live.size(SPIRAL.rows, SPIRAL.factors);
      live.send('crossField', {s2: SPIRAL.s2, width: SPIRAL.width});
    },
    judge(game, {t, activity}) {
      if (t < SPIRAL.s2 + 100 || t - activity.excited < 20) return;
      if (!game.stimuli && !game.live.blocked.size) return game.lost('the wave ended by itself. Start again.');
      game.won(points(5 * game.stimuli + game.live.blocked.size),
        `${Math.round(t)} ms after the first stimulus, with ${game.stimuli} stimuli and ${game.live.blocked.size} nodes`);
    },
  },
  window: {
    title: 'Find the vulnerable window',
    text: `A plane wave passes; S2 excites ${S2.side} × ${S2.side} nodes in its wake. Find the first and the last S2 `
      + `that starts a re-entry, each to ${S2.near} ms. 100 points, less 5 for each try after the fourth.`,
    begin(game) { game.tries = new Map(); game.ask(); },
    judge(game, {t, activity}) {
      if (!game.delay || t < game.delay + 30) return;
      const turns = activity.turning !== null && t - activity.turning > 100, still = t - activity.excited > 20;
      if (turns) game.tried('re-entry');
      else if (still) game.tried(activity.fired > game.live.rows ** 2 / 4 ? 'a wave on all sides' : 'nothing');
    },
  },
};

class Challenge {
  constructor(live, box) {
    Object.assign(this, {live, current: null, best: {}});
    element(box, 'summary', {}, 'Challenges');
    for (const [name, {title}] of Object.entries(CHALLENGES)) {
      const button = element(box, 'button', {type: 'button'}, title);
      button.addEventListener('click', () => this.begin(name));
    }
    this.text = element(box, 'p', {role: 'status', 'aria-live': 'polite'});
    this.form = element(box, 'span', {class: 'cep-try', hidden: ''});
    const id = `${live.id}-s2`;
    element(this.form, 'label', {for: id}, 'S2 after S1 [ms]');
    this.input = element(this.form, 'input', {type: 'number', id, min: S2.from, max: S2.to, step: 1, value: 180});
    element(this.form, 'button', {type: 'button'}, 'Try').addEventListener('click', () => this.attempt());
  }

  begin(name) {
    Object.assign(this, {current: null, stimuli: 0, delay: 0});
    this.live.cycle.value = 0;
    this.form.hidden = name !== 'window';
    this.text.textContent = CHALLENGES[name].text;
    CHALLENGES[name].begin(this);
    this.current = name;
    this.live.wish = true;
    this.live.run();
  }

  paced() { this.stimuli++; }
  judge(message) { if (this.current) CHALLENGES[this.current].judge(this, message); }
  lost(why) { this.current = null; this.text.textContent = `Not this time: ${why}`; }

  won(score, how) {
    const {title} = CHALLENGES[this.current];
    this.best[this.current] = Math.max(score, this.best[this.current] ?? 0);
    this.text.textContent = `${title}: ${score} points, ${how}. Best so far: ${this.best[this.current]}.`;
    this.score = score;
    this.current = null;
  }

  /* ---- the vulnerable window ---- */

  ask() { this.input.focus?.(); }

  attempt() {
    const {live} = this, middle = live.rows >> 1;
    this.delay = Math.round(Math.min(S2.to, Math.max(S2.from, +this.input.value)));
    live.size(SPIRAL.rows, SPIRAL.factors);
    live.send('crossField', {width: SPIRAL.width});
    live.send('pace', {row: SPIRAL.rows >> 1, column: SPIRAL.rows >> 1, side: S2.side, delay: this.delay});
    this.current = 'window';
    live.wish = true;
    live.run();
  }

  tried(outcome) {
    this.tries.set(this.delay, outcome);
    this.delay = 0;
    const list = [...this.tries].sort(([a], [b]) => a - b), inside = list.filter(([, what]) => what === 're-entry');
    this.text.textContent = list.map(([delay, what]) => `${delay} ms: ${what}`).join('; ');
    if (!inside.length) return;
    const first = inside[0][0], last = inside[inside.length - 1][0];
    const before = list.filter(([delay]) => delay < first).pop(), after = list.find(([delay]) => delay > last);
    if (before?.[0] >= first - S2.near && after?.[0] <= last + S2.near)
      this.won(points(5 * (this.tries.size - 4)), `the window is ${first} to ${last} ms, found with ${this.tries.size} tries`);
  }
}
