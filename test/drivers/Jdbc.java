// The calls through JDBC.

import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.time.OffsetDateTime;

import org.postgresql.PGConnection;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

public class Jdbc {
    static final String INSERT = """
        INSERT INTO usage_monitor.usage (user_id, model, input_tokens, output_tokens)
        VALUES (?, ?, ?, ?) RETURNING cost""";

    static final String RESPONSE = """
        {"id": "r-2", "object": "chat.completion", "model": "test-model", "choices": [],
         "usage": {"prompt_tokens": 2000, "completion_tokens": 300, "total_tokens": 2300}}""";

    static Connection connect(String user) throws SQLException {
        String password = System.getenv("PGPASSWORD");
        return DriverManager.getConnection(
            "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE"),
            user, password == null ? "" : password);
    }

    static BigDecimal cost(Connection conn, String statement, Object... values) throws SQLException {
        try (PreparedStatement call = conn.prepareStatement(statement)) {
            for (int i = 0; i < values.length; i++)
                call.setObject(i + 1, values[i]);
            try (ResultSet result = call.executeQuery()) {
                return result.next() ? result.getBigDecimal(1) : null;
            }
        }
    }

    static ServerErrorMessage refused(String sqlState, Connection conn, String statement, Object... values) throws SQLException {
        try {
            cost(conn, statement, values);
        } catch (PSQLException error) {
            check(sqlState.equals(error.getSQLState()), error.toString());
            return error.getServerErrorMessage();
        }
        throw new AssertionError("not refused: " + statement);
    }

    static void check(boolean right, String what) {
        if (!right)
            throw new AssertionError(what);
    }

    static void same(String expected, BigDecimal cost) {
        check(cost != null && new BigDecimal(expected).compareTo(cost) == 0, expected + " <> " + cost);
    }

    public static void main(String[] arguments) throws SQLException {
        try (Connection conn = connect(System.getenv("PGUSER"))) {
            same("0.0075", cost(conn, INSERT, "alice", "test-model", 1000, 500));

            // prepared by the server from the fifth time on
            try (PreparedStatement insert = conn.prepareStatement(INSERT)) {
                for (int i = 1; i <= 10; i++) {
                    insert.setString(1, "bob");
                    insert.setString(2, "test-model");
                    insert.setLong(3, 1000 * i);
                    insert.setLong(4, 100 * i);
                    try (ResultSet result = insert.executeQuery()) {
                        result.next();
                        same("" + new BigDecimal("0.0035").multiply(new BigDecimal(i)), result.getBigDecimal(1));
                    }
                }
            }

            same("0.006", cost(conn, """
                INSERT INTO usage_monitor.usage (ts, user_id, model, input_tokens, output_tokens, tags)
                VALUES (?, ?, ?, ?, ?, ?::jsonb) RETURNING cost""",
                OffsetDateTime.parse("2026-01-02T03:04:05.678901+01:00"), "carol", "test-model", 2000, 100,
                "{\"workflow\": \"summary\"}"));

            StringBuilder rows = new StringBuilder();
            for (int i = 1; i <= 100; i++)
                rows.append("dave\ttest-model\t").append(i).append('\t').append(2 * i).append('\n');
            try {
                conn.unwrap(PGConnection.class).getCopyAPI().copyIn(
                    "COPY usage_monitor.usage (user_id, model, input_tokens, output_tokens) FROM STDIN",
                    new java.io.StringReader(rows.toString()));
            } catch (java.io.IOException error) {
                throw new AssertionError(error);
            }

            String call = """
                INSERT INTO usage_monitor.usage (request_id, user_id, model, input_tokens, output_tokens)
                VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING cost""";
            same("0.002", cost(conn, call, "r-1", "erin", "test-model", 400, 100));
            check(cost(conn, call, "r-1", "erin", "test-model", 400, 100) == null, "a retry counts twice");

            check(cost(conn, INSERT, "heidi", "no-such-model", 10, 10) == null, "unpriced is not free");
            refused("UM001", conn, INSERT, "ivan", "test-model", -1, 0);
            ServerErrorMessage error = refused("UM100", conn, INSERT, "grace", "test-model", 0, 10000);
            check("usage_monitor".equals(error.getSchema()) && "quota".equals(error.getTable())
                  && "grace".equals(error.getConstraint()), error.toString());
            refused("42501", conn, "SELECT user_id FROM usage_monitor.usage");
            refused("42501", conn, "UPDATE usage_monitor.price_rate SET amount = 0 RETURNING amount");
        }

        try (Connection conn = connect(System.getenv("RECORDER"))) {
            same("0.008", cost(conn, "SELECT cost FROM usage_monitor.record(?::jsonb, user_id => ?)", RESPONSE, "frank"));
            refused("42501", conn, INSERT, "ivan", "test-model", 1, 0);
        }
    }
}
