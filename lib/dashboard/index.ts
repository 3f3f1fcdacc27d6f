/** Shows runs: served live, or written as one file. */
export { type ReportOptions, type ReportResult, writeReport } from './report.js'
export { type Dashboard, type DashboardOptions, serveDashboard } from './serve.js'
