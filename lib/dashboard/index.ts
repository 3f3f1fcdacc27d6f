/** Shows runs: served live, or written as one file. */
export { type ReportOptions, type ReportResult, writeReport } from './report.js'
export { type Dashboard, type ServeOptions, serveDashboard } from './serve.js'
