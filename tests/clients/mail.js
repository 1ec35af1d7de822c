// SPDX-License-Identifier: Apache-2.0
// imapflow and nodemailer doing their normal work through the router. Ports, certificate and account
// come from the environment; prints one line of JSON.
'use strict';
const fs = require('fs');
const { ImapFlow } = require('imapflow');
const nodemailer = require('nodemailer');

const env = process.env;
const tls = { ca: fs.readFileSync(env.CERT), servername: 'localhost' };
const auth = { user: env.ACCOUNT, pass: env.PASSWORD };

async function readMail(port, secure, credentials) {
  const client = new ImapFlow({ host: 'localhost', port, secure, tls, auth: credentials, logger: false });
  await client.connect();
  const lock = await client.getMailboxLock('INBOX');
  try {
    await client.append('INBOX', 'Subject: by-imapflow\r\n\r\nhello\r\n');
    const mail = await client.fetchOne('*', { envelope: true });
    return mail.envelope.subject;
  } finally {
    lock.release();
    await client.logout();
  }
}

async function sendMail(port, secure, credentials) {
  const transport = nodemailer.createTransport({
    host: 'localhost', port, secure, requireTLS: !secure, tls, auth: credentials,
  });
  const info = await transport.sendMail({
    from: env.ACCOUNT, to: 'x@remote.test', subject: 'by-nodemailer', text: 'hello',
  });
  transport.close();
  return info.response.slice(0, 3);
}

async function main() {
  const token = { user: env.ACCOUNT, accessToken: env.TOKEN };
  const oauth = { type: 'OAuth2', user: env.ACCOUNT, accessToken: env.TOKEN };
  const result = {
    imaps: await readMail(+env.IMAPS, true, auth),
    imap: await readMail(+env.IMAP, false, auth),
    imapToken: await readMail(+env.IMAPS, true, token),
    smtps: await sendMail(+env.SMTPS, true, auth),
    smtp: await sendMail(+env.SMTP, false, auth),
    smtpToken: await sendMail(+env.SMTP, false, oauth),
  };
  console.log(JSON.stringify(result));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
