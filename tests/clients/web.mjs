// SPDX-License-Identifier: Apache-2.0
// JMAP and WebSocket clients through the router; PORT, and TOKENS: account=bearer token, two of them.
// NODE_EXTRA_CA_CERTS trusts the router. Prints what each account saw.
import JamClient from "jmap-jam";
import WebSocket from "ws";

const port = process.env.PORT;
const tokens = JSON.parse(process.env.TOKENS);

async function jmap(token) {
  const jam = new JamClient({ bearerToken: token,
    sessionUrl: `https://localhost:${port}/.well-known/jmap` });
  const accountId = await jam.getPrimaryAccount();
  const [mailboxes] = await jam.api.Mailbox.get({ accountId });
  const subjects = [];
  for (let i = 0; i < 50; i++) {
    const [set] = await jam.api.Email.set({ accountId,
      create: { c: { subject: `letter ${i}`, mailboxIds: { inbox: true } } } });
    const [got] = await jam.api.Email.get({ accountId, ids: [set.created.c.id] });
    subjects.push(got.list[0].subject);
  }
  if (subjects.some((subject, i) => subject !== `letter ${i}`)) throw new Error(subjects.join());
  return mailboxes.list[0].name;
}

function echo(token) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://localhost:${port}/ws`,
      { headers: { Authorization: `Bearer ${token}` } });
    const sizes = [1, 125, 126, 65535, 65536, 1000000];
    let name;
    socket.on("error", reject);
    socket.on("message", (data) => {
      if (name === undefined) name = data.toString();
      else if (!data.equals(Buffer.alloc(sizes.shift(), 7))) return reject(new Error("other bytes"));
      if (sizes.length) return socket.send(Buffer.alloc(sizes[0], 7));
      return socket.close();
    });
    socket.on("close", (code) => sizes.length ? reject(new Error(`closed: ${code}`)) : resolve(name));
  });
}

const seen = {};
await Promise.all(Object.entries(tokens).map(async ([account, token]) => {
  seen[account] = [await jmap(token), await echo(token)];
}));
console.log(JSON.stringify(seen));
