// SPDX-License-Identifier: Apache-2.0
/* Java's own TLS (JSSE) as a client of lines: what is said to it goes out, what it hears is told. It changes
 * keys by itself after 8 KiB, and asks for the other's. */

import java.io.*;
import java.security.*;
import java.security.cert.X509Certificate;
import javax.net.ssl.*;

public class Lines {
    static final int KEY_BYTES_LOG2 = 13;

    static final TrustManager[] ANYBODY = {new X509TrustManager() {
        public void checkClientTrusted(X509Certificate[] chain, String type) {}

        public void checkServerTrusted(X509Certificate[] chain, String type) {}

        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }};

    static void copy(InputStream from, OutputStream to) throws IOException {
        byte[] piece = new byte[16384];
        for (int n; (n = from.read(piece)) > 0; to.flush())
            to.write(piece, 0, n);
    }

    public static void main(String[] words) throws Exception {
        Security.setProperty("jdk.tls.keyLimits", "AES/GCM/NoPadding KeyUpdate 2^" + KEY_BYTES_LOG2);
        SSLContext context = SSLContext.getInstance("TLSv1.3");
        context.init(null, ANYBODY, null);
        SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("127.0.0.1", Integer.parseInt(words[0]));
        socket.setEnabledProtocols(new String[] {"TLSv1.3"});
        Thread hears = new Thread(() -> {
            try {
                copy(socket.getInputStream(), System.out);
                System.out.println("the end");
            } catch (IOException e) {
                System.out.println("broken: " + e);
            }
            System.exit(0);
        });
        hears.start();
        copy(System.in, socket.getOutputStream());
        socket.shutdownOutput();
        hears.join();
    }
}
