// Shows how many messages each queue has, as the queue's own route says it, for as long as somebody looks at the page.
"use strict";

const EVERY_MS = 2000;
const WAIT_MS = 5000;
const table = document.getElementById("queues");
let timer = 0;

function row(cells) {
  const line = document.createElement("tr");
  cells.forEach((text, index) => {
    const cell = document.createElement("td");
    cell.textContent = text;
    if (index > 0) cell.className = "number";
    line.append(cell);
  });
  return line;
}

function tell(text) {
  const line = row([text]);
  line.firstChild.colSpan = 4;
  table.tBodies[0].replaceChildren(line);
}

async function show() {
  try {
    const answer = await fetch(table.dataset.source, { cache: "no-store", signal: AbortSignal.timeout(WAIT_MS) });
    if (!answer.ok) throw new Error(`it answers with ${answer.status}`);
    const queues = Object.entries(await answer.json()).sort();
    if (queues.length === 0) return tell("There is no queue yet.");
    table.tBodies[0].replaceChildren(
      ...queues.map(([name, count]) => row([name, count.visible, count.delayed, count.leased])),
    );
  } catch (error) {
    tell(`The queue cannot be asked: ${error.message}`);
  }
}

async function loop() {
  await show();
  timer = document.hidden ? 0 : setTimeout(loop, EVERY_MS);
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && timer === 0) loop();
});
loop();
