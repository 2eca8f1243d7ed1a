"use strict";

const at = (id) => document.getElementById(id);
const rooms = new Map();   // name -> { last, unread, messages: Map(number -> message) }
const waiting = new Map(); // id -> { room, text, refused }: said here, not kept yet
let socket, me, current = "lobby", pause = 250, clock = 0;

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
const colour = (hue) => `hsl(${Number(hue) || 0} 55% 42%)`;
const room = (name) => {
  if (!rooms.has(name)) rooms.set(name, { last: 0, unread: 0, messages: new Map() });
  return rooms.get(name);
};
const send = (message) => {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
};

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.onopen = () => {
    pause = 250;
    const name = sessionStorage.getItem("name");
    if (name) enter(name);
    else at("enter").showModal();
  };
  socket.onmessage = (event) => hear(JSON.parse(event.data));
  socket.onclose = () => {
    show("connecting again", true);
    // Not all browsers at once, when a gateway goes.
    setTimeout(connect, pause * (0.5 + Math.random()));
    pause = Math.min(pause * 2, 4000);
  };
}

function show(text, away) {
  at("state").textContent = text;
  at("state").toggleAttribute("data-away", Boolean(away));
}

function enter(name) {
  me = name;
  send({ do: "enter", name });
}

function hear(message) {
  switch (message.is) {
    case "welcome":
      me = message.name;
      sessionStorage.setItem("name", me);
      if (at("enter").open) at("enter").close();
      at("refused").textContent = "";
      show(`here as ${me}`);
      break;
    case "rooms":
      for (const { name } of message.rooms) room(name);
      for (const name of rooms.keys()) fetchRoom(name);
      for (const [id, said] of waiting) if (!said.refused) send({ do: "say", room: said.room, id, text: said.text });
      drawRooms();
      break;
    case "history":
      for (const each of message.messages) keep(each);
      draw();
      break;
    case "message":
      // A gap: something was missed while the connection was away.
      if (message.message.number > room(message.message.room).last + 1) fetchRoom(message.message.room);
      if (message.message.room !== current) room(message.message.room).unread += 1;
      keep(message.message);
      draw();
      break;
    case "said": break; // the message itself comes as well
    case "online": drawOnline(message.users); break;
    case "services":
      clock = Date.now() - message.now;
      drawServices(message.services);
      break;
    case "error":
      if (waiting.has(message.id)) waiting.get(message.id).refused = message.error;
      else if (!sessionStorage.getItem("name") || at("enter").open) at("refused").textContent = message.error;
      else show(message.error, true);
      draw();
      break;
  }
}

function fetchRoom(name) {
  send({ do: "open", room: name, after: room(name).last });
}

function keep(message) {
  const place = room(message.room);
  place.messages.set(message.number, message);
  while (place.messages.has(place.last + 1)) place.last += 1;
  // Only the newest hundred come from the server: what lies before does not count as missing.
  if (place.messages.size === 1) place.last = message.number;
  waiting.delete(message.id);
}

function line(message, state = "") {
  const time = new Date(message.at || Date.now());
  const face = make("span", { className: "face", ariaHidden: "true" }, initials(message.name));
  face.style.background = colour(message.hue);
  return make("li", { className: state }, face,
    make("span", { className: "who" }, message.name,
      make("time", { dateTime: time.toISOString() }, time.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }))),
    make("p", {}, message.text));
}

function initials(name) {
  const words = String(name).split(" ");
  return (words.length > 1 ? words[0].slice(0, 1) + words.at(-1).slice(0, 1) : String(name).slice(0, 2)).toUpperCase();
}

function draw() {
  const list = at("messages");
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 80;
  const place = room(current);
  const lines = [...place.messages.values()].sort((one, two) => one.number - two.number).map((message) => line(message));
  for (const said of waiting.values()) {
    if (said.room !== current) continue;
    const text = said.refused ? `${said.text}\n(${said.refused})` : said.text;
    lines.push(line({ name: me, hue: 200, text }, said.refused ? "refused" : "waiting"));
  }
  if (!lines.length) lines.push(make("li", { className: "empty" }, "Nothing was said here yet."));
  list.replaceChildren(...lines);
  if (atEnd) list.scrollTop = list.scrollHeight;
  place.unread = 0;
  drawRooms();
}

function drawRooms() {
  const buttons = [...rooms].sort().map(([name, { unread }]) => {
    const button = make("button", { onclick: () => open(name) }, `# ${name}`);
    if (name === current) button.setAttribute("aria-current", "true");
    else if (unread) button.append(make("span", { className: "unread" }, String(unread)));
    return button;
  });
  at("rooms").replaceChildren(...buttons);
}

function open(name) {
  current = name;
  at("room").textContent = `#${name}`;
  at("text").placeholder = `Write to #${name}`;
  draw();
  at("messages").scrollTop = at("messages").scrollHeight;
  at("text").focus();
}

function drawOnline(users) {
  at("online").replaceChildren(...users.map(({ name, hue }) => {
    const dot = make("i");
    dot.style.background = colour(hue);
    return make("li", {}, dot, name === me ? `${name} (you)` : name);
  }));
}

let known = [];
function drawServices(services = known) {
  known = services;
  const now = Date.now() - clock;
  at("services").replaceChildren(...services.map(({ about, away }) => {
    const seconds = Math.max(0, Math.round((now - about.since) / 1000));
    const age = seconds < 90 ? `${seconds} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
    const state = make("span", { className: away ? "away" : seconds < 30 ? "fresh" : "" }, away ? "away" : `up ${age}`);
    return make("span", { title: "the beginning of the hash of its program, and since when it runs" },
      make("b", {}, about.service), " ", make("code", {}, about.fingerprint), " ", state);
  }));
}
setInterval(drawServices, 1000, undefined);

at("say").onsubmit = (event) => {
  event.preventDefault();
  const text = at("text").value.trim();
  if (!text || !me) return;
  const id = Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
  waiting.set(id, { room: current, text });
  send({ do: "say", room: current, id, text });
  at("text").value = "";
  draw();
  at("messages").scrollTop = at("messages").scrollHeight;
};
at("enter").oncancel = (event) => event.preventDefault();
at("enter").querySelector("form").onsubmit = (event) => {
  event.preventDefault();
  enter(at("name").value);
};
connect();
