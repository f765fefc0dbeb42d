"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const { header, records, footer, why } = JSON.parse($("data").textContent);
  const decided = why && why.decided;
  const violated = footer ? footer.violated : [];
  const badAt = new Map();
  for (const v of violated) if (v.at !== null) badAt.set(v.at, (badAt.get(v.at) || []).concat(v));

  // Geometry, in pixels.
  const ROW = 20, HEAD = 34, TIME = 118, LANE = 156, SHORT = 12;
  const INK = "#1c2430", SOFT = "#66707f", LINE = "#d5dae1", BAD = "#c4161c";
  const COLORS = { req: "#1f5fbf", ok: "#1d7a3d", error: "#b3541e", event: "#6b3fa0", peer: "#00798c", state: "#66707f" };
  const FAULTS = ["#e07a1f", "#c2a300", "#b5536b", "#5a8f29", "#8a6f5a", "#3c8fb0"];

  const ms = (r) => r.t_us / 1000;
  const clock = (r) => (r.t_us / 1e6).toFixed(3) + " s";
  const short = (text, n) => (text.length > n ? text.slice(0, n - 1) + "…" : text);

  // Who a record belongs to.
  const owner = new Map();
  for (const r of records) if (r.kind === "opened") owner.set(r.conn, r.client);
  const clientOf = (r) => r.client || owner.get(r.conn) || null;
  const runOf = (r) => {
    const f = r.frame;
    if (!f) return null;
    const of = (o) => (o ? o.runId || o.idempotencyKey : null);
    return of(f.payload) || of(f.params) || null;
  };

  // Faults as bars: from their beginning to their end, each in the first free column.
  const faults = [];
  const open = new Map();
  for (const r of records) {
    if (r.kind === "fault" && r.on) {
      const bar = { from: r.i, to: records.length, fault: r.fault, column: 0 };
      const taken = faults.filter((b) => b.to >= r.i).map((b) => b.column);
      while (taken.includes(bar.column)) bar.column += 1;
      faults.push(bar);
      open.set(r.id, bar);
      const momentary = /^(cut|reset|clock_jump|config_edit|telegram_|model_)/.test(r.fault.kind || "");
      if (momentary) bar.to = r.i;
    } else if (r.kind === "fault" && open.has(r.id)) {
      const bar = open.get(r.id);
      if (bar.to === records.length) bar.to = r.i;
    }
  }
  const bars = Math.min(8, faults.reduce((n, b) => Math.max(n, b.column + 1), 0));
  const GUTTER = TIME + (bars ? bars * SHORT + 10 : 0);

  // What a record says, in a few words, and how it is drawn.
  const frameWords = (f) => {
    if (!f || typeof f !== "object") return String(f);
    if (f.raw !== undefined) return "not JSON: " + f.raw;
    if (f.type === "req") return f.method + "  #" + f.id;
    if (f.type === "res") {
      if (!f.ok) return "error " + (f.error ? (f.error.details && f.error.details.code) || f.error.code : "") + "  #" + f.id;
      const p = f.payload || {};
      return (p.type === "hello-ok" ? "hello-ok" : p.status ? "ok " + p.status : "ok") + "  #" + f.id;
    }
    const p = f.payload || {};
    const more = f.event === "agent" ? p.stream + (p.data && p.data.phase ? " " + p.data.phase : "") + " " + p.seq
      : f.event === "chat" ? p.state : f.event === "presence" && f.stateVersion ? "v" + f.stateVersion.presence : "";
    return f.event + (more ? " " + more : "") + (f.seq === undefined ? "" : "  ·" + f.seq);
  };
  const describe = (r) => {
    const client = clientOf(r);
    switch (r.kind) {
      case "sent": return { from: client, to: "gateway", text: frameWords(r.frame), color: COLORS.req };
      case "received": {
        const f = r.frame || {};
        const color = f.type === "res" ? (f.ok ? COLORS.ok : COLORS.error) : COLORS.event;
        return { from: "gateway", to: client, text: frameWords(f), color };
      }
      case "telegram": return r.status === null || r.status === undefined
        ? { from: "gateway", to: "telegram", text: r.method, color: COLORS.peer }
        : { from: "telegram", to: "gateway", text: r.method + " " + r.status, color: r.status === 200 ? COLORS.peer : COLORS.error };
      case "model": return { from: "gateway", to: "model", text: r.text, color: COLORS.peer };
      case "update": return { lane: "telegram", text: "update " + r.update_id + ": " + (r.update.text || ""), color: COLORS.peer };
      case "opened": return { lane: client, text: r.conn + " open", color: COLORS.state };
      case "closed": return { lane: client, text: "× " + r.conn + " " + (r.code === null ? "" : r.code + " ") + r.reason + (r.by_client ? " (client)" : ""), color: r.by_client ? COLORS.state : COLORS.error };
      case "connect_failed": return { lane: client, text: "× no connection: " + r.error, color: COLORS.error };
      case "reading": return { lane: client, text: r.on ? "▶ reads again" : "❚❚ stops reading", color: COLORS.error };
      case "process": return { wide: true, text: "gateway: " + r.event, color: INK };
      case "fault": return { wide: true, text: (r.on ? "fault: " : "over: ") + r.fault.kind + (r.fault.target ? " on " + r.fault.target : ""), color: "#b3541e" };
      case "panic": return { wide: true, text: "PANIC in " + r.task + ": " + r.message, color: BAD };
      case "probe": return { lane: "gateway", text: (r.holds ? "probe " : "BROKEN ") + r.name, color: r.holds ? COLORS.state : BAD };
      case "gauge": return { lane: "gateway", text: r.name + " = " + r.value, color: COLORS.state };
      default: return { wide: true, text: r.text || r.kind, color: COLORS.state };
    }
  };

  // Lanes: hosts first, then clients in the order in which they appear.
  const hosts = ["telegram", "model"].filter((h) => records.some((r) => r.kind === h || (h === "telegram" && r.kind === "update")));
  const clients = [];
  for (const r of records) {
    const c = clientOf(r);
    if (c && !clients.includes(c)) clients.push(c);
  }
  clients.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const runs = new Set();
  for (const r of records) {
    const run = runOf(r);
    if (run) runs.add(run);
  }

  // State of the page.
  let lanes = [], rows = [], rowOf = new Map(), picked = null, hover = null;
  const noise = (r) => r.kind === "received" && r.frame && (r.frame.event === "tick" || r.frame.event === "presence" || r.frame.event === "health");

  function filter() {
    const conn = $("conn").value.trim(), run = $("run").value.trim(), text = $("text").value.trim().toLowerCase();
    const all = $("ticks").checked;
    const mine = (c) => !conn || c === conn || conn.startsWith(c + "/") || c.startsWith(conn + "-");
    lanes = [...hosts, "gateway", ...clients.filter(mine)];
    rows = records.filter((r) => {
      if (badAt.has(r.i)) return true;
      const client = clientOf(r);
      if (client && (!mine(client) || (conn.includes("/") && r.conn && r.conn !== conn))) return false;
      if (!all && noise(r)) return false;
      if (run && client && runOf(r) !== run && !(r.frame && run === r.frame.id)) return false;
      return !text || JSON.stringify(r).toLowerCase().includes(text);
    });
    for (const r of rows) {
      const c = clientOf(r);
      if (c && !lanes.includes(c)) lanes.push(c);
    }
    rowOf = new Map(rows.map((r, n) => [r.i, n]));
    $("count").textContent = rows.length === records.length ? rows.length + " records" : rows.length + " of " + records.length + " records";
    size();
  }

  const scroll = $("scroll"), canvas = $("canvas"), pen = canvas.getContext("2d");
  function size() {
    $("space").style.width = GUTTER + lanes.length * LANE + 20 + "px";
    $("space").style.height = HEAD + rows.length * ROW + 40 + "px";
    const scale = window.devicePixelRatio || 1;
    canvas.style.width = scroll.clientWidth + "px";
    canvas.style.height = scroll.clientHeight + "px";
    canvas.width = scroll.clientWidth * scale;
    canvas.height = scroll.clientHeight * scale;
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    draw();
  }

  let asked = false;
  const later = () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => { asked = false; draw(); });
  };

  function draw() {
    const w = scroll.clientWidth, h = scroll.clientHeight, left = scroll.scrollLeft, top = scroll.scrollTop;
    const x = (lane) => GUTTER + lanes.indexOf(lane) * LANE + LANE / 2 - left;
    const y = (n) => HEAD + n * ROW + ROW / 2 - top;
    const first = Math.max(0, Math.floor(top / ROW) - 1), last = Math.min(rows.length, Math.ceil((top + h) / ROW) + 1);
    pen.clearRect(0, 0, w, h);
    pen.textBaseline = "middle";
    pen.font = "12px system-ui, sans-serif";

    // Lanes and lines that are marked.
    pen.save();
    pen.beginPath();
    pen.rect(GUTTER - 1, HEAD, w, h);
    pen.clip();
    for (const lane of lanes) {
      pen.strokeStyle = lane === "gateway" ? "#9aa4b2" : LINE;
      pen.lineWidth = lane === "gateway" ? 2 : 1;
      pen.beginPath();
      pen.moveTo(x(lane), HEAD);
      pen.lineTo(x(lane), Math.min(h, y(rows.length)));
      pen.stroke();
    }
    pen.restore();
    for (let n = first; n < last; n += 1) {
      const r = rows[n], bad = badAt.has(r.i);
      if (decided && ms(r) >= decided[0] && ms(r) <= decided[1]) {
        pen.fillStyle = "rgba(224,122,31,.12)";
        pen.fillRect(0, y(n) - ROW / 2, w, ROW);
      }
      if (bad || r === picked || r === hover) {
        pen.fillStyle = bad ? "rgba(196,22,28,.14)" : r === picked ? "rgba(31,95,191,.14)" : "rgba(0,0,0,.05)";
        pen.fillRect(0, y(n) - ROW / 2, w, ROW);
        if (bad) {
          pen.fillStyle = BAD;
          pen.fillRect(0, y(n) - ROW / 2, 4, ROW);
        }
      }
    }

    // Arrows.
    pen.save();
    pen.beginPath();
    pen.rect(GUTTER, HEAD, w, h);
    pen.clip();
    for (let n = first; n < last; n += 1) {
      const r = rows[n], d = describe(r), color = badAt.has(r.i) ? BAD : d.color, at = y(n);
      pen.fillStyle = pen.strokeStyle = color;
      pen.lineWidth = 1.4;
      if (d.wide) {
        pen.globalAlpha = 0.35;
        pen.beginPath();
        pen.moveTo(GUTTER, at);
        pen.lineTo(w, at);
        pen.stroke();
        pen.globalAlpha = 1;
        label(d.text, GUTTER + 8, at, 600, color, true);
      } else if (d.lane !== undefined) {
        const px = d.lane === null ? GUTTER : x(d.lane);
        pen.beginPath();
        pen.arc(px, at, 3, 0, 7);
        pen.fill();
        label(d.text, px + 8, at, LANE * 1.6, color, true);
      } else {
        const a = x(d.from), b = x(d.to), way = Math.sign(b - a);
        pen.beginPath();
        pen.moveTo(a, at);
        pen.lineTo(b, at);
        pen.stroke();
        pen.beginPath();
        pen.moveTo(b, at);
        pen.lineTo(b - way * 8, at - 4);
        pen.lineTo(b - way * 8, at + 4);
        pen.fill();
        // The words stand at the client's end, where lanes differ.
        const end = d.to === "gateway" ? a : b, side = d.to === "gateway" ? way : -way;
        const wide = LANE - 26;
        label(d.text, side > 0 ? end + 12 : end - 12, at, wide, color, false, side < 0);
      }
    }
    pen.restore();

    // Faults run down at the left.
    pen.save();
    pen.beginPath();
    pen.rect(0, HEAD, GUTTER, h);
    pen.clip();
    faults.forEach((f, k) => {
      let from = rows.findIndex((r) => r.i >= f.from);
      if (from < 0) from = rows.length;
      let to = rowOf.has(f.to) ? rowOf.get(f.to) : rows.findIndex((r) => r.i > f.to);
      if (to < 0) to = rows.length;
      if (from > last || to < first) return;
      pen.fillStyle = FAULTS[k % FAULTS.length];
      pen.globalAlpha = 0.8;
      pen.fillRect(TIME + (f.column % 8) * SHORT, y(from) - ROW / 2, SHORT - 3, Math.max(ROW, (to - from) * ROW));
      pen.globalAlpha = 1;
    });
    pen.font = "11px ui-monospace, monospace";
    pen.textAlign = "right";
    for (let n = first; n < last; n += 1) {
      const gap = n > 0 ? ms(rows[n]) - ms(rows[n - 1]) : 0;
      pen.fillStyle = SOFT;
      pen.fillText(clock(rows[n]), TIME - 12, y(n));
      if (gap > 500) {
        pen.strokeStyle = "#b9c1cc";
        pen.setLineDash([3, 3]);
        pen.beginPath();
        pen.moveTo(8, y(n) - ROW / 2);
        pen.lineTo(GUTTER, y(n) - ROW / 2);
        pen.stroke();
        pen.setLineDash([]);
      }
    }
    pen.restore();

    // Names of the lanes stay.
    pen.fillStyle = "#fbfcfd";
    pen.fillRect(0, 0, w, HEAD);
    pen.font = "600 13px system-ui, sans-serif";
    pen.textAlign = "center";
    for (const lane of lanes) {
      pen.fillStyle = lane === "gateway" ? INK : SOFT;
      if (x(lane) > GUTTER) pen.fillText(short(lane, 22), x(lane), HEAD / 2);
    }
    pen.textAlign = "left";
    pen.fillStyle = SOFT;
    pen.fillText(bars ? "time    faults" : "time", 12, HEAD / 2);
    pen.strokeStyle = LINE;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(0, HEAD - 0.5);
    pen.lineTo(w, HEAD - 0.5);
    pen.stroke();
  }

  function label(text, px, py, wide, color, plain, toLeft) {
    let words = String(text).replace(/\s+/g, " ");
    while (words.length > 3 && pen.measureText(words).width > wide) words = words.slice(0, Math.max(2, Math.floor(words.length * 0.85))) + "…";
    const width = pen.measureText(words).width;
    const from = toLeft ? px - width : px;
    pen.globalAlpha = 0.9;
    pen.fillStyle = "#fbfcfd";
    pen.fillRect(from - 3, py - 8, width + 6, 16);
    pen.globalAlpha = 1;
    pen.fillStyle = color;
    pen.textAlign = "left";
    pen.fillText(words, from, py + (plain ? 0 : 0.5));
  }

  function show(r) {
    if (!r) return;
    $("what").textContent = "Record " + r.i + " at " + clock(r) + " · " + r.kind + (r.conn ? " · " + r.conn : "");
    $("why").textContent = (badAt.get(r.i) || []).map((v) => v.oracle + ": " + v.detail).join("\n");
    const { i, t_us, host, kind, ...rest } = r;
    $("detail").textContent = JSON.stringify(rest.frame && rest.conn ? rest.frame : rest, null, 2);
  }

  function pick(r) {
    picked = r;
    show(r);
    const n = rowOf.get(r.i);
    if (n === undefined) return;
    const at = HEAD + n * ROW, h = scroll.clientHeight;
    if (at < scroll.scrollTop + HEAD + ROW || at > scroll.scrollTop + h - 2 * ROW) scroll.scrollTop = at - h / 2;
    const lane = lanes.indexOf(clientOf(r)), x = GUTTER + lane * LANE;
    if (lane >= 0 && (x < scroll.scrollLeft + GUTTER || x + LANE > scroll.scrollLeft + scroll.clientWidth)) {
      scroll.scrollLeft = x - scroll.clientWidth / 2;
    }
    later();
  }

  const rowAt = (event) => {
    const box = canvas.getBoundingClientRect(), py = event.clientY - box.top;
    return py < HEAD ? null : rows[Math.floor((py - HEAD + scroll.scrollTop) / ROW)] || null;
  };
  canvas.addEventListener("mousemove", (event) => {
    hover = rowAt(event);
    if (hover && !picked) show(hover);
    later();
  });
  canvas.addEventListener("mouseleave", () => { hover = null; later(); });
  canvas.addEventListener("click", (event) => {
    const r = rowAt(event);
    if (r === picked) picked = null;
    else if (r) pick(r);
    later();
  });
  scroll.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !picked) return;
    const next = rows[(rowOf.get(picked.i) ?? 0) + step];
    if (next) pick(next);
    event.preventDefault();
  });
  scroll.addEventListener("scroll", later);
  window.addEventListener("resize", size);
  for (const id of ["conn", "run", "text", "ticks"]) $(id).addEventListener("input", filter);
  $("filter").addEventListener("submit", (event) => event.preventDefault());

  // The head of the page.
  const seconds = records.length ? (records[records.length - 1].t_us / 1e6).toFixed(1) : "0";
  $("title").textContent = header.scenario + ", seed " + header.seed;
  $("facts").textContent = records.length + " records in " + seconds + " s · plan " + header.plan.slice(0, 12)
    + (header.commit ? " · commit " + header.commit : "") + (footer ? " · hash " + footer.hash.slice(0, 12) : " · unfinished");
  for (const v of violated) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = v.oracle + (v.at === null ? "" : " at record " + v.at) + ": " + short(v.detail, 160);
    button.addEventListener("click", () => { if (v.at !== null && records[v.at]) pick(records[v.at]); });
    $("verdicts").append(button);
  }
  if (decided) {
    const share = (at) => { const s = why.shares.find((x) => x.at_ms === at); return s.violated + " of " + s.of; };
    const button = document.createElement("button");
    button.type = "button";
    button.className = "decided";
    button.textContent = why.oracle + " was decided between " + decided[0] / 1000 + " s and " + decided[1] / 1000
      + " s: with the rest drawn anew " + share(decided[0]) + " violate it before, " + share(decided[1]) + " after";
    button.addEventListener("click", () => pick(records.find((r) => ms(r) >= decided[0]) || records[0]));
    $("verdicts").append(button);
  }
  if (footer) {
    const held = document.createElement("span");
    held.className = "held";
    held.textContent = footer.held.length + " oracles held";
    held.title = footer.held.join(", ");
    $("verdicts").append(held);
  }
  const options = (list, values) => {
    for (const value of values) {
      const option = document.createElement("option");
      option.value = value;
      list.append(option);
    }
  };
  options($("conns"), [...clients, ...owner.keys()].slice(0, 2000));
  options($("runs"), [...runs].slice(0, 2000));
  filter();
  const worst = violated.find((v) => v.at !== null && records[v.at]);
  if (worst) pick(records[worst.at]);
})();
