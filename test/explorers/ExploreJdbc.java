// What a tool that explores by JDBC, as DBeaver and Metabase do, sees: each
// view with its description and that of its columns, and every number to the
// last digit.

import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.ResultSetMetaData;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;

public class ExploreJdbc {
    static void check(boolean right, String what) {
        if (!right)
            throw new AssertionError(what);
    }

    static BigDecimal number(Connection conn, String sql) throws SQLException {
        try (Statement statement = conn.createStatement(); ResultSet result = statement.executeQuery(sql)) {
            result.next();
            String text = result.getString(1);
            return text == null ? null : new BigDecimal(text);
        }
    }

    static boolean same(BigDecimal a, BigDecimal b) {
        return a == null || b == null ? a == b : a.compareTo(b) == 0;
    }

    public static void main(String[] arguments) throws SQLException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
        int numbers = 0;
        List<String> views = new ArrayList<>();

        try (Connection conn = DriverManager.getConnection(url, System.getenv("PGUSER"), System.getenv("PGPASSWORD"))) {
            // one moment for all questions
            conn.setAutoCommit(false);
            conn.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            DatabaseMetaData meta = conn.getMetaData();
            try (ResultSet table = meta.getTables(null, "usage\\_monitor", "%", new String[] {"VIEW"})) {
                while (table.next()) {
                    views.add(table.getString("TABLE_NAME"));
                    check(table.getString("REMARKS") != null, table.getString("TABLE_NAME") + " is not described");
                }
            }
            check(views.size() > 40, views.toString());
            for (String view : views) {
                try (ResultSet column = meta.getColumns(null, "usage\\_monitor", view.replace("_", "\\_"), "%")) {
                    while (column.next())
                        check(column.getString("REMARKS") != null, view + "." + column.getString("COLUMN_NAME") + " is not described");
                }
                try (Statement statement = conn.createStatement();
                     ResultSet rows = statement.executeQuery("SELECT * FROM usage_monitor.\"" + view + "\"")) {
                    ResultSetMetaData columns = rows.getMetaData();
                    BigDecimal[] sums = new BigDecimal[columns.getColumnCount() + 1];
                    while (rows.next()) {
                        for (int i = 1; i < sums.length; i++) {
                            if (columns.getColumnType(i) != Types.NUMERIC) {
                                rows.getObject(i);
                                continue;
                            }
                            BigDecimal value = rows.getBigDecimal(i);
                            if (value != null) {
                                sums[i] = sums[i] == null ? value : sums[i].add(value);
                                numbers++;
                            }
                        }
                    }
                    for (int i = 1; i < sums.length; i++)
                        if (columns.getColumnType(i) == Types.NUMERIC)
                            check(same(sums[i], number(conn, "SELECT sum(\"" + columns.getColumnName(i) + "\") FROM usage_monitor.\"" + view + "\"")),
                                  view + "." + columns.getColumnName(i) + " is " + sums[i]);
                }
            }
            check(numbers > 200, "only " + numbers + " numbers");
            check(same(new BigDecimal("0.000000123456789012345678901234"),
                       number(conn, "SELECT cost FROM usage_monitor.daily_usage WHERE org = 'fine'")), "thirty decimals");
        }
        System.out.println(views.size() + " views, " + numbers + " exact numbers");
    }
}
