// What every client must get from the gateway, whichever wire the provider speaks; the same as in ../contract.py.

import assert from "node:assert/strict";
import { suite, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

export const GATEWAY = process.env.UNDERSTUDY_TEST_GATEWAY;
export const QUESTION = "Who wrote Faust?";
export const FAUST = "Johann Wolfgang von Goethe.";
export const FACTS = { name: "Goethe", born: 1749 };
const ENDS_WITHIN = 1000; // milliseconds in which a request ends upstream when its caller has left

/** Look at what the providers of an agent have seen. */
async function upstream(agent) {
  const answer = await fetch(`${process.env.UNDERSTUDY_TEST_UPSTREAM}/${agent}`);
  assert.equal(answer.status, 200);
  return answer.json();
}

async function until(isTrue, milliseconds, said) {
  const end = Date.now() + milliseconds;
  while (!(await isTrue())) {
    assert.ok(Date.now() < end, said);
    await sleep(20);
  }
}

/**
 * Hold a client to what must be true.
 *
 * chat(model, signal) and the pieces of stream(model, signal) end in {text, given, made}; a stream's pieces are texts.
 * tools(model, look) runs the whole loop, shapes are ways to FACTS; errors are the SDK's classes by their status, and
 * aborted is what it raises for whoever leaves.
 */
export function hold(name, { chat, stream, tools, shapes, errors, aborted }) {
  const read = async (model, signal) => {
    const pieces = [];
    for await (const piece of stream(model, signal)) pieces.push(piece);
    return pieces;
  };
  for (const wire of ["openai", "anthropic"]) {
    suite(`${name}, a provider that speaks ${wire}`, () => {
      test("a chat: the text, and the usage as the provider counted it", async () => {
        assert.deepEqual(await chat(`well.${wire}`), { text: FAUST, given: 3, made: 4 });
      });

      test("a stream: piece by piece, and the same usage", async () => {
        const pieces = await read(`well.${wire}`);
        const said = pieces.pop();
        assert.ok(pieces.filter(Boolean).length > 1);
        assert.equal(pieces.join(""), FAUST);
        assert.deepEqual(said, { text: FAUST, given: 3, made: 4 });
      });

      test("tools: one is asked for, run once, and the model answers with what it gave", async () => {
        const calls = [];
        const before = await upstream(`tools.${wire}`);
        const text = await tools(`tools.${wire}`, ({ of }) => (calls.push(of), "Goethe"));
        assert.equal(text, `${QUESTION}\nGoethe`);
        assert.deepEqual(calls, [QUESTION]);
        assert.equal((await upstream(`tools.${wire}`)).asked[0] - before.asked[0], 2);
      });

      for (const [how, shape] of Object.entries(shapes)) {
        test(`an object in the shape that was asked for: ${how}`, async () => {
          assert.deepEqual(await shape(`shaped.${wire}`), FACTS);
        });
      }

      for (const [scenario, status] of [["nobody", 404], ["rejects", 400], ["lone", 503]]) {
        const model = scenario === "nobody" ? scenario : `${scenario}.${wire}`;
        for (const [kind, ask] of [["a whole answer", chat], ["a stream", read]]) {
          test(`${status} in place of ${kind}: the SDK's own error`, async () => {
            await assert.rejects(ask(model), (error) => {
              assert.ok(error instanceof errors[status], `${error.constructor.name}: ${error.message}`);
              assert.equal(error.status, status);
              if (status === 404) assert.match(error.message, /well\.openai/);
              return true;
            });
          });
        }
      }

      test("a hand-over is not seen", async () => {
        const before = await upstream(`down.${wire}`);
        assert.deepEqual(await chat(`down.${wire}`), { text: FAUST, given: 3, made: 4 });
        assert.equal((await read(`down.${wire}`)).slice(0, -1).join(""), FAUST);
        const after = await upstream(`down.${wire}`);
        assert.deepEqual(after.asked.map((now, route) => now - before.asked[route]), [2, 2]);
      });

      test("leaving the loop over a stream ends the request upstream within a second", async () => {
        const agent = `slow.${wire}`;
        const before = await upstream(agent);
        for await (const piece of stream(agent)) {
          if (!piece) continue;
          assert.equal(piece.trim(), "one");
          assert.equal((await upstream(agent)).in_flight, 1);
          break;
        }
        await left(agent, before);
      });

      for (const [kind, ask] of [["a whole answer", chat], ["a stream", read]]) {
        test(`aborting ${kind} ends the request upstream within a second`, async () => {
          const agent = `slow.${wire}`;
          const before = await upstream(agent);
          const leaving = new AbortController();
          const asking = assert.rejects(ask(agent, leaving.signal), aborted);
          await until(async () => (await upstream(agent)).in_flight === 1, 5000, "it was never asked");
          await sleep(300); // so that a stream is in its middle
          leaving.abort();
          await left(agent, before);
          await asking;
        });
      }
    });
  }
}

function left(agent, before) {
  const isLeft = async () => {
    const now = await upstream(agent);
    return now.in_flight === 0 && now.left > before.left;
  };
  return until(isLeft, ENDS_WITHIN, "the request goes on upstream");
}
