// The openai SDK: chat completions and responses.

import OpenAI from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

import { GATEWAY, QUESTION, hold } from "./contract.mjs";

const client = new OpenAI({ baseURL: `${GATEWAY}/v1`, apiKey: "any", maxRetries: 0 });
const Facts = z.object({ name: z.string(), born: z.number().int() });
const parameters = { type: "object", properties: { of: { type: "string" } }, required: ["of"] };
const messages = [{ role: "user", content: QUESTION }];
const errors = { 400: OpenAI.BadRequestError, 404: OpenAI.NotFoundError, 503: OpenAI.InternalServerError };

hold("chat completions", {
  errors,
  aborted: OpenAI.APIUserAbortError,

  async chat(model, signal) {
    const { choices, usage } = await client.chat.completions.create({ model, messages }, { signal });
    return { text: choices[0].message.content, given: usage.prompt_tokens, made: usage.completion_tokens };
  },

  async *stream(model, signal) {
    const stream = client.chat.completions.stream(
      { model, messages, stream_options: { include_usage: true } },
      { signal },
    );
    for await (const chunk of stream) yield chunk.choices[0]?.delta.content ?? "";
    const { choices, usage } = await stream.finalChatCompletion();
    yield { text: choices[0].message.content, given: usage.prompt_tokens, made: usage.completion_tokens };
  },

  async tools(model, look) {
    const tool = { type: "function", function: { name: "look", parameters, parse: JSON.parse, function: look } };
    return client.chat.completions.runTools({ model, messages, tools: [tool] }).finalContent();
  },

  shapes: {
    async response_format(model) {
      const response_format = zodResponseFormat(Facts, "facts");
      const { choices } = await client.chat.completions.parse({ model, messages, response_format });
      return choices[0].message.parsed;
    },
    async json_object(model) {
      const response_format = { type: "json_object" };
      const { choices } = await client.chat.completions.create({ model, messages, response_format });
      return JSON.parse(choices[0].message.content);
    },
  },
});

hold("chat completions, tools streamed and streams bare", {
  errors,
  aborted: () => true, // a bare stream that is aborted ends without an error

  async chat(model, signal) {
    const runner = client.chat.completions.stream({ model, messages, stream_options: { include_usage: true } }, { signal });
    const usage = await runner.totalUsage();
    return { text: await runner.finalContent(), given: usage.prompt_tokens, made: usage.completion_tokens };
  },

  async *stream(model, signal) {
    let [text, usage] = ["", null];
    const stream = await client.chat.completions.create(
      { model, messages, stream: true, stream_options: { include_usage: true } },
      { signal },
    );
    for await (const chunk of stream) {
      usage = chunk.usage ?? usage;
      const piece = chunk.choices[0]?.delta.content ?? "";
      text += piece;
      yield piece;
    }
    if (signal?.aborted) throw new OpenAI.APIUserAbortError();
    yield { text, given: usage.prompt_tokens, made: usage.completion_tokens };
  },

  async tools(model, look) {
    const tool = { type: "function", function: { name: "look", parameters, parse: JSON.parse, function: look } };
    return client.chat.completions.runTools({ model, messages, tools: [tool], stream: true }).finalContent();
  },

  shapes: {
    async response_format(model) {
      const response_format = zodResponseFormat(Facts, "facts");
      const completion = await client.chat.completions.stream({ model, messages, response_format }).finalChatCompletion();
      return completion.choices[0].message.parsed;
    },
  },
});

hold("responses", {
  errors,
  aborted: OpenAI.APIUserAbortError,

  async chat(model, signal) {
    const { output_text, usage } = await client.responses.create({ model, input: QUESTION }, { signal });
    return { text: output_text, given: usage.input_tokens, made: usage.output_tokens };
  },

  async *stream(model, signal) {
    const stream = client.responses.stream({ model, input: QUESTION }, { signal });
    for await (const event of stream) yield event.type === "response.output_text.delta" ? event.delta : "";
    const { output_text, usage } = await stream.finalResponse();
    yield { text: output_text, given: usage.input_tokens, made: usage.output_tokens };
  },

  async tools(model, look) {
    const tools = [{ type: "function", name: "look", parameters, strict: false }];
    const input = [{ role: "user", content: QUESTION }];
    for (;;) {
      const { output, output_text } = await client.responses.create({ model, input, tools });
      const calls = output.filter((item) => item.type === "function_call");
      if (calls.length === 0) return output_text;
      input.push(...output);
      for (const { call_id, arguments: given } of calls)
        input.push({ type: "function_call_output", call_id, output: look(JSON.parse(given)) });
    }
  },

  shapes: {
    async text_format(model) {
      const text = { format: zodTextFormat(Facts, "facts") };
      return (await client.responses.parse({ model, input: QUESTION, text })).output_parsed;
    },
  },
});
