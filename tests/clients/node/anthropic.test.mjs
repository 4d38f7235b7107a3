// The anthropic SDK: messages.

import Anthropic from "@anthropic-ai/sdk";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";

import { GATEWAY, QUESTION, hold } from "./contract.mjs";

const client = new Anthropic({ baseURL: GATEWAY, apiKey: "any", maxRetries: 0 });
const Facts = z.object({ name: z.string(), born: z.number().int() });
const input_schema = { type: "object", properties: { of: { type: "string" } }, required: ["of"] };
const tool = { name: "look", description: "Look it up.", input_schema };
const asked = { max_tokens: 100, messages: [{ role: "user", content: QUESTION }] };

hold("messages", {
  errors: { 400: Anthropic.BadRequestError, 404: Anthropic.NotFoundError, 503: Anthropic.InternalServerError },
  aborted: Anthropic.APIUserAbortError,

  async chat(model, signal) {
    const { content, usage } = await client.messages.create({ model, ...asked }, { signal });
    return { text: content[0].text, given: usage.input_tokens, made: usage.output_tokens };
  },

  async *stream(model, signal) {
    const stream = client.messages.stream({ model, ...asked }, { signal });
    for await (const event of stream) yield event.delta?.text ?? "";
    const { content, usage } = await stream.finalMessage();
    yield { text: content[0].text, given: usage.input_tokens, made: usage.output_tokens };
  },

  async tools(model, look) {
    const messages = [...asked.messages];
    for (;;) {
      const message = await client.messages.create({ model, ...asked, messages, tools: [tool] });
      if (message.stop_reason !== "tool_use") return message.content[0].text;
      const results = message.content
        .filter((block) => block.type === "tool_use")
        .map(({ id, input }) => ({ type: "tool_result", tool_use_id: id, content: look(input) }));
      messages.push({ role: "assistant", content: message.content }, { role: "user", content: results });
    }
  },

  shapes: {
    async output_format(model) {
      const output_config = { format: zodOutputFormat(Facts) };
      return (await client.messages.parse({ model, ...asked, output_config })).parsed_output;
    },
    async tool(model) {
      const facts = { name: "facts", input_schema: z.toJSONSchema(Facts) };
      const tool_choice = { type: "tool", name: "facts" };
      const { content } = await client.messages.create({ model, ...asked, tools: [facts], tool_choice });
      return content.find((block) => block.type === "tool_use").input;
    },
  },
});

hold("messages, the SDK's own tool runner and bare streams", {
  errors: { 400: Anthropic.BadRequestError, 404: Anthropic.NotFoundError, 503: Anthropic.InternalServerError },
  aborted: () => true, // a bare stream that is aborted ends without an error

  async chat(model, signal) {
    const { content, usage } = await client.messages.stream({ model, ...asked }, { signal }).finalMessage();
    return { text: content[0].text, given: usage.input_tokens, made: usage.output_tokens };
  },

  async *stream(model, signal) {
    const said = { text: "", given: 0, made: 0 };
    const stream = await client.messages.create({ model, ...asked, stream: true }, { signal });
    for await (const event of stream) {
      if (event.type === "message_start") said.given = event.message.usage.input_tokens;
      if (event.type === "message_delta") {
        said.given = event.usage.input_tokens || said.given;
        said.made = event.usage.output_tokens;
      }
      const piece = event.delta?.text ?? "";
      said.text += piece;
      yield piece;
    }
    if (signal?.aborted) throw new Anthropic.APIUserAbortError();
    yield said;
  },

  async tools(model, look) {
    const run = { ...tool, run: look, parse: (input) => input };
    const message = await client.beta.messages.toolRunner({ model, ...asked, tools: [run] });
    return message.content[0].text;
  },

  shapes: {
    async streamed(model) {
      const output_config = { format: zodOutputFormat(Facts) };
      const message = await client.messages.stream({ model, ...asked, output_config }).finalMessage();
      return message.parsed_output ?? JSON.parse(message.content[0].text);
    },
  },
});
