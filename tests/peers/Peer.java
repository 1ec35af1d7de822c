// SPDX-License-Identifier: Apache-2.0
/* Java's own TLS (JSSE) as main.c, plan.c and session.c do it by C libraries: the same arguments, plans and
 * reports. KeyUpdates are its own affair: so many bytes under a key (jdk.tls.keyLimits). */

import java.io.*;
import java.net.*;
import java.nio.charset.StandardCharsets;
import java.security.*;
import java.security.cert.X509Certificate;
import java.util.*;
import java.util.concurrent.atomic.*;
import javax.net.ssl.*;

public class Peer {
    static final String[] SUITES = {"12-aes128", "12-aes256", "12-chacha", "13-aes128", "13-aes256", "13-chacha"};
    static final String[] NAMES = {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"};
    static final int PATIENCE_MS = 30000;
    static final int KEY_BYTES_LOG2 = 19; /* plans.py knows it */

    static SSLContext context;
    static final AtomicInteger running = new AtomicInteger();

    /* What a session is to do: KEY=VALUE words. */
    static class Plan {
        final Map<String, String> words = new HashMap<>();

        Plan(String text) {
            for (String word : text.trim().split(" "))
                words.put(word.substring(0, word.indexOf('=')), word.substring(word.indexOf('=') + 1));
        }

        long number(String key) {
            return Long.parseLong(words.getOrDefault(key, "0"));
        }

        /* Places and what is to be done or waited there. */
        List<String[]> list(String key) {
            List<String[]> found = new ArrayList<>();
            for (String event : words.getOrDefault(key, "").split(","))
                if (!event.isEmpty())
                    found.add(event.split(":"));
            return found;
        }
    }

    static byte content(long seed, boolean ofNode, long at) {
        int i = (int) at, s = ((int) seed * 2 + (ofNode ? 1 : 0)) * 0x9e3779b1;
        return (byte) (((i ^ i >>> 13) * 0x9e3779b1 + s) >>> 23);
    }

    static class Session {
        final SSLSocket tls;
        final Socket tcp;
        final boolean isNode;
        Plan plan;
        long sent, received, biggest;
        String ended, error = "";
        boolean gone;
        InputStream in;
        OutputStream out;
        final Object changed = new Object();

        Session(Socket tcp, int suite, boolean isNode, Plan plan) throws IOException, GeneralSecurityException {
            this.tcp = tcp;
            this.isNode = isNode;
            this.plan = plan;
            tcp.setTcpNoDelay(true);
            boolean limited = plan != null && plan.number("limit") > 0;
            SSLContext context = limited ? makeContext(null) : Peer.context; /* resumed, it would not ask */
            SSLParameters parameters = context.getDefaultSSLParameters();
            parameters.setProtocols(new String[] {suite < 3 ? "TLSv1.2" : "TLSv1.3"});
            parameters.setCipherSuites(new String[] {NAMES[suite]});
            if (limited)
                parameters.setMaximumPacketSize((int) plan.number("limit") + 5);
            tls = (SSLSocket) context.getSocketFactory().createSocket(tcp, "localhost", tcp.getPort(), true);
            tls.setSSLParameters(parameters);
            tls.setUseClientMode(!isNode);
            tls.setSoTimeout(PATIENCE_MS);
        }

        synchronized void wrong(String what) {
            if (error.isEmpty())
                error = what.replace(' ', '_').replace('\n', '_').replace('=', '-');
        }

        String line() throws IOException {
            StringBuilder text = new StringBuilder();
            for (int c = in.read(); c != '\n'; c = in.read()) {
                if (c < 0)
                    throw new EOFException("end in a line");
                text.append((char) c);
            }
            return text.toString().trim();
        }

        void write(String text) throws IOException {
            out.write(text.getBytes(StandardCharsets.ISO_8859_1));
        }

        byte[] piece(long at, int length) {
            byte[] data = new byte[length];
            for (int i = 0; i < length; i++)
                data[i] = content(plan.number("seed"), isNode, at + i);
            return data;
        }

        void logIn(String password) throws IOException {
            line();
            ByteArrayOutputStream first = new ByteArrayOutputStream();
            first.writeBytes(("a LOGIN " + plan.words.get("account") + " \"" + password + "\"\r\n").getBytes());
            first.writeBytes(piece(0, (int) plan.number("early")));
            out.write(first.toByteArray());
            sent = plan.number("early");
            String answer = line();
            while (!answer.startsWith("a "))
                answer = line();
            if (!answer.startsWith("a OK"))
                throw new IOException("not logged in");
        }

        void beLoggedIn() throws IOException {
            write("* OK [CAPABILITY IMAP4rev1 SASL-IR] peer\r\n");
            for (;;) {
                String[] words = line().split(" ");
                if (words[1].equals("CAPABILITY"))
                    write("* CAPABILITY IMAP4rev1 SASL-IR\r\n");
                if (words[1].equals("AUTHENTICATE")) {
                    String text = new String(Base64.getDecoder().decode(words[3]), StandardCharsets.ISO_8859_1);
                    plan = new Plan(text.split("\0")[2]);
                    if (plan.number("buffer") > 0)
                        tcp.setReceiveBufferSize((int) plan.number("buffer"));
                    write(words[0] + " OK done\r\n");
                    return;
                }
                write(words[0] + " OK done\r\n");
            }
        }

        /* ---- the exchange: this thread writes, another one reads ---- */

        void receiveAll() {
            byte[] data = new byte[65536];
            List<String[]> stalls = plan.list("stall");
            long wanted = plan.number("receive") + plan.number("rest_receive");
            try {
                for (int n = in.read(data); n >= 0; n = in.read(data)) {
                    for (int i = 0; i < n; i++)
                        if (data[i] != content(plan.number("seed"), !isNode, received + i))
                            throw new IllegalStateException("other byte at " + (received + i));
                    biggest = Math.max(biggest, n);
                    synchronized (changed) {
                        received += n;
                        changed.notifyAll();
                    }
                    if (received > wanted)
                        throw new IllegalStateException("more than was sent");
                    while (!stalls.isEmpty() && received >= Long.parseLong(stalls.get(0)[0]))
                        Thread.sleep(Long.parseLong(stalls.remove(0)[1]));
                }
                end("clean");
            } catch (SocketTimeoutException e) {
                end("stuck");
            } catch (SocketException e) {
                end("reset");
            } catch (IOException e) {
                boolean cut = String.valueOf(e.getMessage()).contains("terminated the connection");
                if (!cut)
                    wrong(String.valueOf(e));
                end(cut ? "cut" : "failed");
            } catch (IllegalStateException | InterruptedException e) {
                wrong(e.getMessage());
                end("failed");
            }
        }

        void end(String how) {
            synchronized (changed) {
                ended = how;
                changed.notifyAll();
            }
        }

        /* Waits until so much has come, or the end. */
        void await(long bytes) throws InterruptedException {
            synchronized (changed) {
                while (ended == null && received < bytes)
                    changed.wait();
            }
        }

        /* Whether the session goes on. */
        boolean act(char action) throws IOException {
            if (action == 'c')
                tcp.shutdownOutput();
            else if (action == 'r')
                tcp.setSoLinger(true, 0);
            else
                tls.shutdownOutput();
            gone = action != 'c';
            return false;
        }

        boolean sendUpTo(long limit, Random random, List<String[]> events) throws IOException {
            int most = (int) Math.max(plan.number("chunk"), 1);
            for (;;) {
                long room = limit - sent;
                if (!events.isEmpty()) {
                    if (Long.parseLong(events.get(0)[0]) <= sent)
                        return act(events.remove(0)[1].charAt(0));
                    room = Math.min(room, Long.parseLong(events.get(0)[0]) - sent);
                }
                if (room <= 0)
                    return true;
                int length = (int) Math.min(room, 1 + random.nextInt(most));
                out.write(piece(sent, length));
                sent += length;
            }
        }

        void follow() throws Exception {
            long total = plan.number("send"), comes = plan.number("receive");
            boolean ends = plan.number("ends") != 0;
            Random random = new Random(plan.number("seed"));
            List<String[]> events = plan.list("do");
            Thread reader = new Thread(this::receiveAll);
            reader.start();
            boolean more;
            try {
                more = sendUpTo(Math.max(total - 1, 0), random, events);
                if (more) {
                    await(isNode ? comes : comes - 1);
                    more = sendUpTo(total, random, events);
                }
                if (more && ends) {
                    await(comes);
                    tls.shutdownOutput();
                } else if (more) {
                    await(Long.MAX_VALUE);
                    sendUpTo(total + plan.number("rest_send"), random, events);
                    tls.shutdownOutput();
                }
            } catch (IOException e) {
                /* the reader tells what has happened */
            }
            if (gone)
                tcp.close();
            reader.join();
            if (gone)
                ended = "own";
        }

        void run(String password) {
            try {
                tls.startHandshake();
                in = tls.getInputStream();
                out = tls.getOutputStream();
                if (isNode)
                    beLoggedIn();
                else
                    logIn(password);
                follow();
            } catch (Exception e) {
                wrong(e.toString());
            }
            if (plan != null) {
                synchronized (System.out) {
                    System.out.println("n=" + plan.number("n") + " role=" + (isNode ? "node" : "client") + " sent=" +
                        sent + " received=" + received + " ended=" + (ended == null ? "own" : ended) +
                        " asked=0 answers=-1 biggest=" + biggest + " error=" + (gone ? "" : error));
                    System.out.flush();
                }
            }
            try {
                tcp.close();
            } catch (IOException e) {
                /* it is closed */
            }
        }
    }

    static void listen(int suite) throws IOException {
        ServerSocket listener = new ServerSocket(0, 512, InetAddress.getByName("127.0.0.1"));
        System.out.println(SUITES[suite] + " " + listener.getLocalPort());
        daemon(() -> {
            for (;;) {
                try {
                    Session session = new Session(listener.accept(), suite, true, null);
                    running.incrementAndGet();
                    daemon(() -> {
                        session.run(null);
                        running.decrementAndGet();
                    });
                } catch (IOException | GeneralSecurityException e) {
                    e.printStackTrace();
                }
            }
        });
    }

    static void daemon(Runnable run) {
        Thread thread = new Thread(run);
        thread.setDaemon(true);
        thread.start();
    }

    static void runLines(int port, BufferedReader lines) {
        try {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] plans = line.split("\t");
                Plan plan = new Plan(plans[0]);
                Socket tcp = new Socket();
                if (plan.number("buffer") > 0)
                    tcp.setReceiveBufferSize((int) plan.number("buffer"));
                tcp.connect(new InetSocketAddress("127.0.0.1", port));
                int suite = Arrays.asList(SUITES).indexOf(plan.words.get("suite"));
                new Session(tcp, suite, false, plan).run(plans[1]);
            }
        } catch (IOException | GeneralSecurityException e) {
            e.printStackTrace();
        }
    }

    static KeyManager[] readKeys(String bundle, String password) throws IOException, GeneralSecurityException {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream file = new FileInputStream(bundle)) {
            store.load(file, password.toCharArray());
        }
        KeyManagerFactory factory = KeyManagerFactory.getInstance("PKIX");
        factory.init(store, password.toCharArray());
        return factory.getKeyManagers();
    }

    static SSLContext makeContext(KeyManager[] keys) throws GeneralSecurityException {
        TrustManager[] trust = {new X509ExtendedTrustManager() {
            public void checkClientTrusted(X509Certificate[] chain, String type) { }
            public void checkServerTrusted(X509Certificate[] chain, String type) { }
            public void checkClientTrusted(X509Certificate[] chain, String type, Socket socket) { }
            public void checkServerTrusted(X509Certificate[] chain, String type, Socket socket) { }
            public void checkClientTrusted(X509Certificate[] chain, String type, SSLEngine engine) { }
            public void checkServerTrusted(X509Certificate[] chain, String type, SSLEngine engine) { }
            public X509Certificate[] getAcceptedIssuers() {
                return new X509Certificate[0];
            }
        }};
        SSLContext made = SSLContext.getInstance("TLS");
        made.init(keys, trust, null);
        return made;
    }

    public static void main(String[] arguments) throws Exception {
        boolean isNode = arguments[0].equals("node");
        Security.setProperty("jdk.tls.keyLimits", "AES/GCM/NoPadding KeyUpdate 2^" + KEY_BYTES_LOG2 +
            ", ChaCha20-Poly1305 KeyUpdate 2^" + KEY_BYTES_LOG2);
        System.setProperty("jsse.enableMFLNExtension", "true");
        System.setProperty("com.sun.net.ssl.requireCloseNotify", "true"); /* a mere FIN is an error */
        context = makeContext(isNode ? readKeys(arguments[1], arguments[2]) : null);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        if (isNode) {
            for (int suite = 0; suite < SUITES.length; suite++)
                listen(suite);
            lines.readLine(); /* ends with its input, and when all sessions are over */
            while (running.get() > 0)
                Thread.sleep(10);
            System.exit(0);
        }
        Thread[] threads = new Thread[Integer.parseInt(arguments[2])];
        for (int i = 0; i < threads.length; i++) {
            threads[i] = new Thread(() -> runLines(Integer.parseInt(arguments[1]), lines));
            threads[i].start();
        }
        for (Thread thread : threads)
            thread.join();
    }
}
